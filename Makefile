SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help

PYTHON ?= python3
UV_VERSION := 0.13.9
NAME ?= hub
BASE ?= auto
PLATFORMS ?= linux/amd64,linux/arm64
WORKERS ?= 2
BIN := .venv/bin
RUN := $(BIN)/python -m
# Of the clone, for the first log line of what is started from it; as hack/image writes it into an image.
export MSA_COMMIT := $(or $(MSA_COMMIT),$(shell git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null))

##@ General

help: ## Show the targets.
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: .venv/.synced ## Make the virtual environment with everything that uv.lock pins.

.venv/.synced: pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, $(PYTHON) is %d.%d; say PYTHON=python3.12 or the like" % sys.version_info[:2])'
	@test -x build/uv/bin/uv || { echo "installing uv $(UV_VERSION) into build/uv"; $(PYTHON) -m venv build/uv && build/uv/bin/pip install --quiet uv==$(UV_VERSION); }
	@echo "installing what uv.lock pins into .venv"
	@build/uv/bin/uv sync --quiet --locked --no-python-downloads --python $(PYTHON)
	@touch $@

binaries: venv ## Provide etcd, kube-apiserver, kube-controller-manager and kubectl (cached; 4 to 8 minutes the first time).
	@$(RUN) hack.binaries

helm: venv ## Provide helm (cached; built with Go in some 4 minutes the first time).
	@$(RUN) hack.binaries helm

promtool: build/prometheus/usr/bin/promtool ## Provide promtool from Debian's package (nothing is installed).

build/prometheus/usr/bin/promtool:
	@command -v apt-get >/dev/null || { echo "promtool comes from Debian's package of Prometheus and this is no Debian: install Prometheus, so that promtool is on the path"; exit 1; }
	@mkdir -p build/prometheus && cd build/prometheus && { apt-get download -q prometheus >/dev/null 2>&1 || { apt-get update -q >/dev/null && apt-get download -q prometheus; }; }
	@cd build/prometheus && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb

##@ Develop

fmt: venv ## Format the code.
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: venv ## Formatting, lint, types and import rules.
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

generate: venv ## Write the generated files anew.
	@$(RUN) hack.generate

manifests: generate helm ## The same, and what is made from the chart: kustomize bases, golden renders.
	@$(RUN) hack.charts

verify: venv ## Fail if a generated file is not what its source says.
	@$(RUN) hack.generate --check

##@ Test

# In the order of the folders, integration before unit: xdist would put the files with the fewest tests last, and those take the longest.
test: venv binaries helm ## Unit and integration tests (integration: on real API servers).
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not deep and not e2e"

test-unit: venv ## Unit tests alone.
	@$(BIN)/pytest tests/unit -m "not deep"

test-deep: venv ## The long runs: generated faults against the runtime, a year of 200 identities, a week of 10,000.
	@MSA_DEEP=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal tests/unit -m deep --timeout=900

e2e: venv binaries helm promtool ## The image in pods on real nodes, by the users' helm line (root; some 10 minutes, more the first time).
	@$(RUN) hack.e2e

e2e-kind: venv binaries helm ## The same on kind with the real OCM (docker, kind and clusteradm needed).
	@$(RUN) hack.kind

##@ Try

demo: venv binaries helm ## A hub, clusters that join and leave, identities used, on real control planes; ONCE=1 ends after the tour.
	@$(RUN) hack.demo $(if $(ONCE),--once)

bench: venv binaries ## Measure against a raw client in the same run; table and build/bench.json.
	@$(RUN) hack.bench

bench-manager: venv binaries ## The same for the addon manager and 1,000 clusters; build/bench-manager.json.
	@$(RUN) hack.bench_manager

bench-fanout: venv binaries ## One identity fanned out over 2,000 clusters, beside a raw client; build/bench-fanout.json.
	@$(RUN) hack.bench_fanout

hub-up: venv binaries helm ## A hub with OCM's stand-ins and one joined cluster, without the addon, to practise helm on.
	@$(RUN) hack.practice up

hub-down: venv ## Stop that hub and remove its state.
	@$(RUN) hack.practice down

cluster-up: venv binaries ## Start a control plane, NAME=hub.
	@$(RUN) hack.clusters up $(NAME)

cluster-down: venv ## Stop it.
	@$(RUN) hack.clusters down $(NAME)

kubeconfig: venv ## Print the path of its admin kubeconfig.
	@$(RUN) hack.clusters kubeconfig $(NAME)

##@ Image and release

docker-build: venv ## Build the image IMG=registry/name:tag with docker, podman or buildah; BASE=image takes another base.
	@$(if $(IMG),,echo 'say which image: make docker-build IMG=registry/name:tag'; exit 1)
	@$(RUN) hack.image build $(IMG) --base $(BASE)

docker-push: venv ## Push it.
	@$(if $(IMG),,echo 'say which image: make docker-push IMG=registry/name:tag'; exit 1)
	@$(RUN) hack.image push $(IMG)

docker-buildx: venv ## Build it for PLATFORMS and push it (docker with buildx).
	@$(if $(IMG),,echo 'say which image: make docker-buildx IMG=registry/name:tag'; exit 1)
	@docker buildx build --platform=$(PLATFORMS) --tag=$(IMG) --build-arg=VERSION=$$($(BIN)/python -c 'import msa; print(msa.__version__)') --build-arg=REVISION=$$(git rev-parse HEAD) --push .

sbom: venv ## Write the bill of materials, build/sbom.json.
	@$(RUN) hack.image.sbom build/sbom.json

release: venv helm ## Build a release into dist/, VERSION=x.y.z as the tree has it (docs/releasing.md).
	@$(if $(VERSION),,echo 'say which version: make release VERSION=x.y.z'; exit 1)
	@$(RUN) hack.release $(VERSION)

##@ Deploy onto the hub that kubectl points at

install: venv ## The CRD alone.
	@$(RUN) hack.deploy install

uninstall: venv ## Delete the CRD, and with it every ManagedServiceAccount and its token. Asks first; YES=1 does not.
	@$(RUN) hack.deploy uninstall

deploy: venv ## CRD, rights, addon and manager with IMG=registry/name:tag; waits until the manager is available.
	@$(if $(IMG),,echo 'say which image: make deploy IMG=registry/name:tag'; exit 1)
	@$(RUN) hack.deploy up $(IMG)

undeploy: venv ## Delete all of it but the CRD, the namespace, and the Placement and binding global. Asks first; YES=1 does not.
	@$(RUN) hack.deploy down

.PHONY: help venv binaries helm promtool fmt lint generate manifests verify install uninstall deploy undeploy test test-unit test-deep e2e e2e-kind demo bench bench-manager bench-fanout hub-up hub-down cluster-up cluster-down kubeconfig docker-build docker-push docker-buildx sbom release
