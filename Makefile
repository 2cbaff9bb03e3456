# Few verbs; each says what it does, and how long it takes where that is long.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo test simulate scale dev check generate kube audit agent-release clean tools tools-python

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/muster
# Each checkout's own: cargo takes what another checkout has built since for its own.
export CARGO_TARGET_DIR ?= $(CURDIR)/target

DENY_VERSION := 0.20.2
DENY := $(CACHE)/tools/cargo-deny-$(DENY_VERSION)/bin/cargo-deny

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: tools-python kube ## See muster at work on this machine alone: about 1 minute, the first build takes 15 more
	@echo "Building muster (cold: usually 6 to 9 minutes) ..."
	@cargo build --workspace --all-targets
	@"$$CARGO_TARGET_DIR/debug/muster-world" demo

# Tests wait more than they compute, so two cores run eight at once. Whatever cluster they use, some start servers of their
# own, with more than envtest has.
test: tools-python ## Run every test: 4 to 5 minutes, the first time about 20
	@hack/kube/build.sh >/dev/null
	@echo "Building muster and its tests (cold: usually 8 to 10 minutes) ..."
	@RUST_TEST_THREADS=$${RUST_TEST_THREADS:-8} cargo test --workspace

# Optimized as far as muster itself goes: its dependencies stay as the other tests have built them.
simulate: tools ## Play a million random histories against models of EC2 and the API server: minutes
	@cargo test --config 'profile.dev.package.muster.opt-level=1' -p muster --lib million_histories -- --ignored --nocapture

scale: tools-python kube ## A thousand fleets and ten thousand machines at rest: too long for `make test`, about 7 minutes
	@cargo test -p muster --test it scale:: -- --include-ignored --test-threads 1

dev: tools-python kube ## The same world without examples, until Ctrl-C; USER_DATA=1 runs user data of workers, as you
	@echo "Building muster (cold: usually 6 to 9 minutes) ..."
	@cargo build --workspace --all-targets
	@"$$CARGO_TARGET_DIR/debug/muster-world" dev $(if $(USER_DATA),--user-data)

check: tools $(DENY) ## Format, lints, dependencies, generated files: what a pull request must pass beside its tests
	@before=$$(git status --porcelain) && \
	echo "Formatting ..." && cargo fmt --all --check && \
	echo "Lints (cold: usually 8 minutes) ..." && cargo clippy --workspace --all-targets -- -D warnings && \
	echo "Dependencies ..." && $(DENY) --workspace check bans licenses sources && \
	echo "Generated files ..." && hack/generate.sh --check && \
	{ [ "$$before" = "$$(git status --porcelain)" ] || { git status --short; echo "A check has changed files."; exit 1; }; }
	@echo "All checks passed."

generate: tools ## Write what is generated from code: the CRDs in crds/ and the chart
	@hack/generate.sh

kube: tools ## Build the Kubernetes that tests and the demo use: once, 6 to 8 minutes
	@if [ -z "$${KUBEBUILDER_ASSETS:-}" ] || ! command -v helm >/dev/null; then \
		hack/kube/build.sh >/dev/null; fi

agent-release: ## Build the agent for release: one static program, usually 5 minutes
	@host=$$(rustc -vV | sed -n 's/^host: //p') && \
	echo "Building muster-agent for $$host (cold: usually 5 minutes) ..." && \
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --profile agent-release --target "$$host" -p muster-agent && \
	ls -l "$$CARGO_TARGET_DIR/$$host/agent-release/muster-agent"

audit: tools $(DENY) ## Look for known vulnerabilities in dependencies: needs the network
	@$(DENY) --workspace check advisories

clean: ## Remove what was built, in this folder and in the cache: the next build is a cold one
	rm -rf "$$CARGO_TARGET_DIR" "$(CACHE)" .dev

tools:
	@hack/tools.sh

tools-python:
	@hack/tools.sh --python

$(DENY):
	@hack/tools.sh
	@echo "Building cargo-deny $(DENY_VERSION): once, usually 4 to 6 minutes ..."
	@build=$$(mktemp -d) && trap 'rm -rf "$$build"' EXIT && \
		CARGO_TARGET_DIR=$$build cargo install --quiet --locked --no-default-features --root "$(CACHE)/tools/cargo-deny-$(DENY_VERSION)" \
		cargo-deny@$(DENY_VERSION)
