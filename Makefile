# Each target has a help text after `##`, with its duration if that is long.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo test simulate scale memory dev check house generate kube audit agent-release clean tools tools-kube

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/muster
# Each checkout uses its own target folder, because cargo would reuse what another checkout has built in a shared one.
export CARGO_TARGET_DIR ?= $(CURDIR)/target

DENY_VERSION := 0.20.2
DENY := $(CACHE)/tools/cargo-deny-$(DENY_VERSION)/bin/cargo-deny

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Run the demo on this machine only: 40 seconds, the first time about 20 minutes
	@hack/programs.sh
	@"$$CARGO_TARGET_DIR/demo/muster-world" demo

# Tests mostly wait, so two cores run eight at the same time. Some tests always start their own servers, which need more
# binaries than envtest has; therefore the build script always runs.
test: tools-kube ## Run every test: about 15 minutes, the first time about 40
	@hack/kube/build.sh --all >/dev/null
	@echo "Building muster and its tests (cold: usually 8 to 10 minutes) ..."
	@RUST_TEST_THREADS=$${RUST_TEST_THREADS:-8} cargo test --workspace

# Optimizes only muster itself; its dependencies are not rebuilt.
simulate: tools ## Run random histories, a million of fleets and of jobs each, against models of AWS and the API server: some minutes
	@cargo test --config 'profile.dev.package.muster.opt-level=1' -p muster --lib million_histories -- --ignored --nocapture

scale: tools-kube kube ## Test a thousand fleets with ten thousand idle instances, and 500 pins with a thousand groups: about 25 minutes, not part of `make test`
	@cargo test -p muster --test it scale:: -- --include-ignored --test-threads 1

OBJECTS := 10000

memory: ## Measure the memory of a release build with 10000 idle fleets: about 15 minutes and the build; OBJECTS=3000 for fewer
	@hack/programs.sh
	@echo "Building the release (cold: 20 minutes or more) ..."
	@cargo build --release --locked -p muster
	@"$$CARGO_TARGET_DIR/demo/muster-world" memory --muster "$$CARGO_TARGET_DIR/release/muster" --objects $(OBJECTS) \
		--max-rss 180 --max-per-object 15

dev: ## Run the demo environment without examples until Ctrl-C; USER_DATA=1 runs user data of workers as your user
	@hack/programs.sh --all
	@"$$CARGO_TARGET_DIR/demo/muster-world" dev $(if $(USER_DATA),--user-data)

check: tools $(DENY) ## Check format, lints, dependencies and generated files; required for a pull request, like the tests
	@before=$$(git status --porcelain) && \
	echo "Formatting ..." && cargo fmt --all --check && \
	echo "Lints (cold: usually 8 minutes) ..." && cargo clippy --workspace --all-targets -- -D warnings && \
	echo "Dependencies ..." && $(DENY) --workspace check bans licenses sources && \
	echo "Generated files ..." && hack/generate.sh --check && \
	{ [ "$$before" = "$$(git status --porcelain)" ] || { git status --short; echo "A check has changed files."; exit 1; }; }
	@echo "All checks passed."

house: ## Show the floors of src/, imports that climb, and circles of files: seconds, the first time a minute
	@cargo run --quiet -p muster-house

generate: tools ## Generate the CRDs in crds/ and the chart, and the reference pages, from the code
	@hack/generate.sh

kube: ## Build the Kubernetes binaries for tests and the demo: once, about 10 minutes
	@hack/tools.sh --go
	@hack/kube/build.sh --all >/dev/null

agent-release: ## Build the agent for release as one static program: usually 5 minutes
	@host=$$(rustc -vV | sed -n 's/^host: //p') && \
	echo "Building muster-agent for $$host (cold: usually 5 minutes) ..." && \
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --profile agent-release --target "$$host" -p muster-agent && \
	ls -l "$$CARGO_TARGET_DIR/$$host/agent-release/muster-agent"

audit: tools $(DENY) ## Check dependencies for known vulnerabilities: requires network access
	@$(DENY) --workspace check advisories

clean: ## Remove all build output from this folder and the cache; the next build starts from scratch
	rm -rf "$$CARGO_TARGET_DIR" "$(CACHE)" .dev

tools:
	@hack/tools.sh

tools-kube:
	@hack/tools.sh --go --world

$(DENY):
	@hack/tools.sh
	@echo "Building cargo-deny $(DENY_VERSION): once, usually 4 to 6 minutes ..."
	@build=$$(mktemp -d) && trap 'rm -rf "$$build"' EXIT && \
		CARGO_TARGET_DIR=$$build cargo install --quiet --locked --no-default-features --root "$(CACHE)/tools/cargo-deny-$(DENY_VERSION)" \
		cargo-deny@$(DENY_VERSION)
