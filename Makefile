# The one door to the project: `make help` lists what it opens.
.DEFAULT_GOAL := help
.PHONY: help quickstart test test-all tools tools-envoy tools-kubernetes tools-consul tools-grpc tools-network bench bench-xds bench-abuse fuzz lint fmt docs

# The first is the one that tests use unless they name another.
ENVOY_VERSIONS := 1.40.0 1.39.3 1.38.3 1.37.0 1.36.4

CARGO := cargo
# What a plain build leaves out, and tests do not.
FEATURES := --features mainstem/otel
# Crates with benchmarks.
BENCHES := mainstem-aggregate mainstem-consul mainstem-file mainstem-kubernetes mainstem-translate

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

quickstart: ## see it work: two registries, one hostname, a real Envoy
	./scripts/quickstart

test: tools ## run every test, against real servers
	$(CARGO) test --workspace --lib --bins --tests --examples $(FEATURES) --locked
	$(CARGO) test --workspace --doc $(FEATURES) --locked

test-all: export MAINSTEM_TEST_MATRIX := full
test-all: test ## the same with the whole matrix of faults and versions

tools: tools-envoy tools-kubernetes tools-consul tools-grpc tools-network ## fetch and build the real servers into .tools/ (about 10 minutes, once)

tools-envoy: ## Envoy alone
	@./scripts/tools envoy $(ENVOY_VERSIONS)

tools-kubernetes: ## etcd, kube-apiserver and kube-controller-manager alone
	@./scripts/tools kubernetes

tools-consul: ## Consul alone
	@./scripts/tools consul

tools-grpc: ## gRPC clients of Python and Node.js alone
	@./scripts/tools grpc

tools-network: ## iptables and iproute2, which network namespace tests need
	@./scripts/tools network

bench: ## run the benchmarks
	$(CARGO) bench --locked --benches $(addprefix --package ,$(BENCHES))
	$(CARGO) bench --locked --package mainstem --bench explain

bench-abuse: export MAINSTEM_ABUSE := full
bench-abuse: ## 1,000 healthy streams beside clients that misbehave: memory, and how long changes take
	$(CARGO) test --package mainstem --test abuse --locked -- --nocapture

fuzz: export MAINSTEM_FUZZ ?= 100
fuzz: ## the properties of the xDS protocol with MAINSTEM_FUZZ (100) times their budget
	$(CARGO) test --package mainstem-xds --lib --locked -- model:: rest::

bench-xds: ## the xDS server beside its floor (XDS='--quick', or '--proxies 100,1000 --kind diverse')
	$(CARGO) bench --locked --package mainstem --bench xds -- $(XDS)

lint: ## check format, clippy and documentation, warnings being errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets $(FEATURES) --locked -- -D warnings
	$(CARGO) clippy --package mainstem --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

fmt: ## format the code
	$(CARGO) fmt --all

docs: ## build the API documentation into target/doc
	$(CARGO) doc --workspace --no-deps --locked
