# A Vault and a sandbox to play with, for scripts/demo and scripts/dev. To be sourced by bash after
# lib.sh. Everything is kept in the directory that PLAY names; nothing of the user's is touched.
# shellcheck shell=bash
# Some variables are for the commands that are echoed before they run.
# shellcheck disable=SC2034

# Process ids of the servers, empty where there is none.
SANDBOX_PID=""
VAULT_PID=""

# play_build builds the plugin and the sandbox and finds a Vault.
play_build() {
	say "Building the plugin and the sandbox, which takes a minute or two the first time ..."
	make -C "$REPO" --no-print-directory -s build sandbox >&2
	VERSION="$(make -C "$REPO" --no-print-directory -s version)"
	VAULT="$("$REPO/scripts/get-vault")"
	SANDBOX="$REPO/bin/pagero-sandbox"
	mkdir -p "$PLAY/plugins"
	cp "$REPO/bin/vault-plugin-pagero" "$PLAY/plugins/"
	"$PLAY/plugins/vault-plugin-pagero" --version >/dev/null ||
		fail "programs may not run in $PLAY (noexec?): set TMPDIR to a directory where they may"
}

# The commands as a user would type them.
vault() { "$VAULT" "$@"; }
pagero-sandbox() { "$SANDBOX" "$@"; }
command -v sha256sum >/dev/null || sha256sum() { shasum -a 256 "$@"; } # macOS before 15

# play_start starts the sandbox and Vault and sets the variables that the echoed commands use.
play_start() {
	forget_vault_settings
	start_sandbox
	start_vault
}

# forget_vault_settings keeps the user's own Vault out of this: its address, token and namespace.
forget_vault_settings() {
	local name
	for name in $(compgen -e VAULT_ || true); do
		unset "$name"
	done
}

# start_sandbox starts the stand-in for Pagero's authorization server and API.
start_sandbox() {
	rm -f "$PLAY/ready.json"
	nohup "$SANDBOX" serve -ca-file "$PLAY/ca.pem" -ready-file "$PLAY/ready.json" \
		</dev/null >"$PLAY/sandbox.log" 2>&1 &
	SANDBOX_PID=$!
	wait_for "the sandbox" "$SANDBOX_PID" test -s "$PLAY/ready.json"
	SANDBOX_URL="$(sed -n 's/.*"url":"\([^"]*\)".*/\1/p' "$PLAY/ready.json")"
	CA="$PLAY/ca.pem"
	export SANDBOX_URL CA
}

# start_vault starts a Vault in memory, on a port that is free.
start_vault() {
	cat >"$PLAY/vault.hcl" <<-HCL
		plugin_directory = "$(cd "$PLAY/plugins" && pwd -P)"
		disable_mlock    = true
	HCL
	VAULT_TOKEN="demo-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
	VAULT_ADDR="http://127.0.0.1:$(free_port)"
	export VAULT_ADDR VAULT_TOKEN
	nohup "$VAULT" server -dev -dev-no-store-token -dev-root-token-id="$VAULT_TOKEN" \
		-dev-listen-address="${VAULT_ADDR#http://}" -config="$PLAY/vault.hcl" \
		</dev/null >"$PLAY/vault.log" 2>&1 &
	VAULT_PID=$!
	wait_for "Vault" "$VAULT_PID" vault status
}

# free_port prints a loopback port that nothing listens on.
free_port() {
	local port
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		port=$((20000 + RANDOM % 10000))
		if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			echo "$port"
			return
		fi
	done
	fail "no free port was found"
}

# wait_for waits until a command succeeds, as long as the process $2 lives; $1 is its name.
wait_for() {
	local what="$1" pid="$2" tries=0
	shift 2
	until ("$@") >/dev/null 2>&1; do # not in this shell: an interruption would have no stderr
		kill -0 "$pid" 2>/dev/null || fail "$what ended unexpectedly"
		[ "$tries" -lt 150 ] || fail "$what did not come up within 30 s"
		tries=$((tries + 1))
		sleep 0.2
	done
}

# stop_process ends the process $1 and waits until it is gone.
stop_process() {
	local pid="$1" tries=0
	[ -n "$pid" ] || return 0
	kill -TERM "$pid" 2>/dev/null || return 0
	while kill -0 "$pid" 2>/dev/null; do
		if [ "$tries" -eq 100 ]; then
			kill -KILL "$pid" 2>/dev/null || true
		fi
		tries=$((tries + 1))
		sleep 0.1
	done
}

# play_stop ends both servers, Vault first: it ends the plugin, which may still talk to the sandbox.
play_stop() {
	stop_process "$VAULT_PID"
	stop_process "$SANDBOX_PID"
}

# play_logs shows the end of the servers' logs, after a failure.
play_logs() {
	local log
	for log in "$PLAY/vault.log" "$PLAY/sandbox.log"; do
		[ -f "$log" ] || continue
		say ""
		say "The last lines of $(basename "$log"):"
		tail -n 25 "$log" >&2
	done
}

# play_failed says how $1 ended, which was with the status $2, and shows the logs where that was a failure.
play_failed() {
	case "$2" in
	0) return ;;
	130 | 143) say "Interrupted. Nothing is left running." ;;
	*) play_logs && say "" && say "$1 failed." ;;
	esac
}

# step says in plain words what comes next.
step() {
	STEP=$((${STEP:-0} + 1))
	printf '\n\033[1m%s. %s\033[0m\n' "$STEP" "$*"
}

# run echoes a command as one would type it and runs it. Tokens in its output are shortened.
run() {
	printf '   $ %s\n' "$1"
	eval "$1" 2>&1 | shorten | sed 's/^/     /'
}

# assign is run for a command that sets a variable; it prints nothing.
assign() {
	printf '   $ %s\n' "$1"
	eval "$1"
}

# shorten cuts access tokens (JWTs) down to their ends.
shorten() {
	sed -E 's/(eyJ[A-Za-z0-9_-]{9})[A-Za-z0-9_.-]{20,}([A-Za-z0-9_-]{8})/\1…\2/g'
}

# play_setup registers the plugin, mounts it, stores a client, and enrols an account by a login and
# another by a refresh token. The variables in the commands are set here and in play_start; the
# commands are shown as they stand.
# shellcheck disable=SC2016
play_setup() {
	cd "$REPO"
	step "Register the plugin with Vault, by the checksum of its binary."
	assign 'SHA256=$(sha256sum bin/vault-plugin-pagero | cut -d" " -f1)'
	run 'vault plugin register -sha256=$SHA256 -version=$VERSION secret vault-plugin-pagero'

	step "Mount it."
	run 'vault secrets enable -path=pagero vault-plugin-pagero'

	step "Allow the sandbox's host beside Pagero's. With Pagero itself the default is right."
	run 'vault write pagero/config allowed_hosts="*.pageroonline.com,127.0.0.1"'

	step "Store the OAuth client. The secret goes in and never comes out again."
	CLIENT_ID=sandbox-client CLIENT_SECRET=sandbox-secret
	run 'vault write pagero/clients/default client_id=$CLIENT_ID client_secret=$CLIENT_SECRET \
       token_url=$SANDBOX_URL/oauth/v2/oauth-token authorize_url=$SANDBOX_URL/oauth/v2/oauth-authorize \
       revoke_url=$SANDBOX_URL/oauth/v2/oauth-revoke ca_cert=@"$CA" \
       redirect_uris=$VAULT_ADDR/v1/pagero/callback'
	unset CLIENT_SECRET

	step "Enrol the account acme by a login: Vault gives a URL for the browser of whoever is to log in."
	assign 'URL=$(vault write -field=authorization_url pagero/authorize/acme spare=true)'

	step "Log in there. The sandbox plays the person with the browser. Vault gets two grants, and nobody sees a refresh token."
	run 'pagero-sandbox visit -ca-file "$CA" -username alice "$URL"'

	step "Or enrol an account with a refresh token from elsewhere. It works once, and from now on only Vault uses it."
	assign 'REFRESH_TOKEN=$(pagero-sandbox login -url $SANDBOX_URL -ca-file "$CA" -username bob)'
	run 'vault write pagero/accounts/pasted refresh_token=$REFRESH_TOKEN'
	unset REFRESH_TOKEN URL
}
