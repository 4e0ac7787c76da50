# Functions that the scripts share. To be sourced by bash, not run.
# shellcheck shell=bash

# The root of the repository, whatever directory the script was called from.
# shellcheck disable=SC2034 # for the scripts that source this
REPO="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"

# say prints a line for the person at the terminal; stdout stays free for results.
say() {
	printf '%s\n' "$*" >&2
}

# fail says what went wrong and ends the script.
fail() {
	say "error: $*"
	exit 1
}

# as_root runs a command as root, where nobody has to be asked for a password.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo -n "$@"
	fi
}

# quietly runs a command and shows the end of its output only where it fails.
quietly() {
	local log status=0
	log="$(mktemp)"
	"$@" >"$log" 2>&1 || status=$?
	[ "$status" -eq 0 ] || tail -n 15 "$log" >&2
	rm -f "$log"
	return "$status"
}

# cache_dir prints the user's cache directory for this project.
cache_dir() {
	printf '%s\n' "${XDG_CACHE_HOME:-$HOME/.cache}/vault-plugin-pagero"
}

# pinned_version prints the version, without its v, at which module $2 is required by the go.mod in
# directory $1.
pinned_version() {
	local version
	version="$(awk -v module="$2" '
		$1 == "require" { $1 = ""; $0 = $0 }
		$1 == module && $2 ~ /^v[0-9]/ { sub(/^v/, "", $2); print $2; exit }
	' "$1/go.mod")"
	[ -n "$version" ] || fail "$1/go.mod does not require $2"
	printf '%s\n' "$version"
}

# lock takes the lock directory $1 and waits, with a line every few seconds, while a living process
# has it. What for is $2. A lock whose owner is gone is taken over.
lock() {
	local dir="$1" what="$2" owner waited=0 ownerless=0
	until mkdir "$dir" 2>/dev/null; do
		owner="$(cat "$dir/pid" 2>/dev/null || true)"
		ownerless=$((ownerless + 1)) # an owner needs a moment to write its pid
		[ -z "$owner" ] || ownerless=0
		if [ "$ownerless" -gt 5 ] || { [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; }; then
			# Of two that find it stale at once, the slower may take the other's new lock away. Both build
			# then, each into files of its own.
			mv "$dir" "$dir.stale.$$" 2>/dev/null || true
			rm -rf "$dir.stale.$$"
			continue
		fi
		[ $((waited % 10)) -ne 5 ] || say "waiting for process $owner, which is building $what, $waited s"
		sleep 1
		waited=$((waited + 1))
	done
	echo $$ >"$dir/pid"
}

# build_once makes sure that the file $1 exists: if not, it builds package $4 of the module in
# directory $3 to it; what it is called for people is $2, further flags of go build follow. At most
# one build runs at a time, the file appears complete or not at all, and a line every few seconds
# says that it is still at it. Meant to be called once in a script: it sets the exit trap, which removes
# what BUILD_FILES names, too, where the caller has made files for the build.
build_once() {
	local target="$1" what="$2" module="$3" package="$4"
	shift 4
	[ ! -x "$target" ] || return 0

	local dir
	dir="$(dirname "$target")"
	mkdir -p "$dir"
	BUILD_LOCK="$dir/lock"
	BUILD_TMP="$target.tmp.$$"
	BUILD_LOG="$target.log.$$"
	BUILD_PID=""
	lock "$BUILD_LOCK" "$what"
	trap build_cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	[ ! -x "$target" ] || return 0 # built by the one that we waited for

	say "building $what, this takes a few minutes the first time"
	(
		cd "$module"
		GOWORK=off exec go build -mod=readonly -trimpath -buildvcs=false "$@" -o "$BUILD_TMP" "$package"
	) >"$BUILD_LOG" 2>&1 &
	BUILD_PID=$!
	local start=$SECONDS ticks=0
	while kill -0 "$BUILD_PID" 2>/dev/null; do
		sleep 1
		ticks=$((ticks + 1))
		if [ $((ticks % 5)) -eq 0 ]; then
			say "still building $what, $((SECONDS - start)) s, this takes a few minutes the first time"
		fi
	done
	if ! wait "$BUILD_PID"; then
		BUILD_PID=""
		tail -n 30 "$BUILD_LOG" >&2
		fail "building $what failed"
	fi
	BUILD_PID=""
	mv "$BUILD_TMP" "$target"
	say "built $what in $((SECONDS - start)) s: $target"
}

# build_cleanup ends a build that is still running and removes what it left.
build_cleanup() {
	if [ -n "$BUILD_PID" ]; then
		kill "$BUILD_PID" 2>/dev/null || true
		wait "$BUILD_PID" 2>/dev/null || true
	fi
	rm -rf "$BUILD_TMP" "$BUILD_LOG" "$BUILD_LOCK" ${BUILD_FILES:+"$BUILD_FILES"}
}

# install_debian installs Debian's packages $2 and further, where that needs nobody's password; what
# for is $1.
install_debian() {
	local what="$1"
	shift
	command -v apt-get >/dev/null && as_root true 2>/dev/null || return 1
	say "installing $what (apt-get install $*)"
	quietly as_root apt-get -q update && quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -qy \
		-o DPkg::Lock::Timeout=300 --no-install-recommends install "$@"
}
