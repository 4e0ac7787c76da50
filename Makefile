# The commands of this repository. "make" alone lists them. They need Go, make, git, bash and, for
# the race detector, a C compiler; whatever else is needed is built on the way, once.

SHELL := /usr/bin/env bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

MODULE := github.com/vault-plugin-pagero/vault-plugin-pagero
# Where the Go modules are that hold code of ours: those of scripts/ but one only pin tools.
MODULES := . sandbox acceptance acceptance/bench acceptance/bench/plugins acceptance/operators scripts/containerlint

# The version that the plugin reports to Vault: semantic, with a leading v.
VERSION ?= $(shell git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null || echo v0.1.0-dev)
# The commit that "vault-plugin-pagero --version" tells.
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
# How long "make fuzz" runs each fuzz target.
FUZZTIME ?= 10s

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# With the same Go it gives the same bytes as the release: .goreleaser.yaml has the same flags. It works
# without scripts/ as well: the images are built so.
.PHONY: build
build: ## build the plugin: bin/vault-plugin-pagero
	@[ ! -x scripts/check-tools ] || scripts/check-tools
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -buildvcs=false \
	  -ldflags '-s -w -X $(MODULE)/backend.Version=$(VERSION) -X main.commit=$(COMMIT)' \
	  -o bin/vault-plugin-pagero ./cmd/vault-plugin-pagero

.PHONY: sandbox
sandbox: ## build the stand-in for Pagero's server: bin/pagero-sandbox
	@mkdir -p bin
	cd sandbox && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o ../bin/pagero-sandbox ./cmd/pagero-sandbox

.PHONY: demo
demo: ## show the main job on a real Vault, from nothing to an API call, and clean up
	@scripts/demo

.PHONY: dev
dev: ## start a Vault with the plugin and a sandbox, and leave them running
	@scripts/dev up

.PHONY: dev-stop
dev-stop: ## stop what "make dev" started
	@scripts/dev stop

.PHONY: test
test: test-unit test-acceptance test-operators ## run all tests, ours with the race detector

.PHONY: test-unit
test-unit: ## run the tests that need no Vault
	@scripts/check-tools race
	go test -race -timeout 30m ./...
	cd sandbox && go test -race -timeout 5m ./...
	cd acceptance/bench && go test -race -timeout 5m ./...

# Of the simulation: -exchanges N, -seeds N, -duration D, -first SEED, or -seed SEED to replay one.
SIMULATE ?= -exchanges 1000000

.PHONY: simulate
simulate: ## play random faults against the account code: SIMULATE='-duration 5m' or '-seed N'
	go test -timeout 0 -count 1 -v -run '^TestSimulation$$' ./backend/internal/rotation/simulation $(SIMULATE)

.PHONY: simulate-selftest
simulate-selftest: ## look whether the simulation finds deliberate defects
	go test -timeout 0 -count 1 -v -run '^TestDefectsAreFound$$' ./backend/internal/rotation/simulation -selftest

.PHONY: test-acceptance
test-acceptance: ## run the tests with a real Vault process and, where one can be had, a Chromium
	@scripts/check-tools race
	@scripts/get-vault >/dev/null
	@scripts/get-chromium >/dev/null || [ -n "$${REQUIRE_BROWSER:-}" ] || \
	  echo "WARNING: the tests with a browser are SKIPPED, because there is no Chromium" >&2
	@{ scripts/get-terraform && scripts/get-terraform-provider; } >/dev/null || [ -n "$${REQUIRE_TERRAFORM:-}" ] || \
	  echo "WARNING: the tests of examples/terraform are SKIPPED, because there is no Terraform" >&2
	@scripts/get-prometheus >/dev/null || [ -n "$${REQUIRE_PROMTOOL:-}" ] || \
	  echo "WARNING: the tests of the monitoring examples are SKIPPED, because there is no promtool" >&2
	@# -count 1: the tests build the plugin, which Go's cache of test results does not see.
	cd acceptance && go test -race -count 1 -timeout 40m ./...

# Without -race: it would compile the operator and its many dependencies twice, and none of it is ours.
.PHONY: test-operators
test-operators: ## run External Secrets Operator's code on examples/kubernetes
	@scripts/get-vault >/dev/null
	cd acceptance/operators && go test -count 1 -timeout 40m ./...

.PHONY: lint
lint: lint-scripts lint-workflows ## check the linter's configuration, lint and check the format of every module
	@set -euo pipefail; lint=$$(scripts/get-tool golangci-lint); \
	"$$lint" config verify; \
	for module in $(MODULES); do \
	  echo "golangci-lint run in $$module"; \
	  (cd "$$module" && "$$lint" run ./...); \
	done

.PHONY: lint-workflows
lint-workflows: ## check GitHub's workflows with actionlint
	@echo actionlint; scripts/lint-workflows

.PHONY: lint-containers
lint-containers: ## lint the Containerfiles and the compose file, without a container engine
	@cd scripts/containerlint && go run . ../../containers/*.Containerfile ../../containers/compose.yaml

# Those that the scripts source are read with them (-a).
.PHONY: lint-scripts
lint-scripts: ## check the shell scripts with shellcheck
	@set -euo pipefail; shellcheck=$$(scripts/get-shellcheck); \
	echo "shellcheck"; \
	"$$shellcheck" -x -a $$(grep -lE '^#!.*(bash|sh)$$' -d skip scripts/* containers/* .ci/*)

.PHONY: fmt
fmt: ## format every module with gofumpt
	@set -euo pipefail; lint=$$(scripts/get-tool golangci-lint); \
	for module in $(MODULES); do (cd "$$module" && "$$lint" fmt ./...); done

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (10s)
	@set -euo pipefail; \
	grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' backend cmd sandbox | \
	  while IFS=: read -r file target; do \
	    echo "$$(dirname "$$file") $${target#func }"; \
	    (cd "$$(dirname "$$file")" && \
	      go test -run '^$$' -fuzz "^$${target#func }\$$" -fuzztime $(FUZZTIME) . </dev/null); \
	  done

.PHONY: bench
bench: ## measure the engine on a real Vault beside others, and write docs/performance.md
	@scripts/get-vault >/dev/null
	@cd acceptance/bench && go run .

.PHONY: bench-scale
bench-scale: ## measure a mount with 100,000 accounts, for half an hour, and write docs/performance.md
	@scripts/get-vault >/dev/null
	@cd acceptance/bench && go run . -scale

.PHONY: bench-window
bench-window: ## measure how long a new refresh token is in the air before it is saved
	@scripts/get-vault >/dev/null
	@cd acceptance/bench && go run ./window

.PHONY: release-snapshot
release-snapshot: ## build all that a release has into dist/, and check it
	@scripts/release-snapshot

.PHONY: version
version: ## print the version that a build gets
	@echo '$(VERSION)'

.PHONY: clean
clean: ## remove what the targets built here; the cache of Vault and the linter stays
	rm -rf bin dist
