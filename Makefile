# Everything a user types. Needs git, make and Python 3.11 to 3.13; the rest goes into .venv.
#   make demo          set up, then show the whole loop (Ctrl-C stops it; ONCE=1 exits by itself;
#                      DRIFT=1 goes on with patients of another clinic)
#   make test          set up, then pass every test

SHELL := /bin/sh
VENV ?= .venv
BIN := $(VENV)/bin
# The first of these that is there and new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& { echo $$p; break; }; done)
PYTEST_ARGS ?=
LOAD ?=
ONCE ?=
DRIFT ?=
PARTS ?=

# The gate: whose data, which files in place of the reference data, where the report goes, and the
# storage root whose champion the new version is held against.
USE_CASE ?= heart_disease
DATA ?=
REPORT ?= build/gate
AGAINST ?= none

# Images: $(IMAGE)/serving and $(IMAGE)/dagster, built by docker, podman or buildah.
DOCKER ?= docker
IMAGE ?= mlops-assets
BASE_IMAGE ?= python:3.12-slim
VERSION ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
CREATED ?= $(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null || echo unknown)
TAG ?= $(VERSION)
# Where to deploy, and the digests to deploy, as `make push` prints them.
ENVIRONMENT ?= staging
NAMESPACE ?= $(or $(shell sed -n 's/^namespace: //p' deploy/kubernetes/overlays/$(ENVIRONMENT)/kustomization.yaml 2>/dev/null),mlops-$(ENVIRONMENT))
SERVING ?=
DAGSTER ?=
KUBECTL ?= kubectl
# More arguments of a build: --network host, --build-arg PIP_INDEX_URL=..., --no-cache.
BUILD_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo dev load test pytest coverage bench bench-serving faults fuzz \
	lint style types delivery data-checks gate image image-check push audit deploy note lock clean distclean \
	deploy-tools deploy-check deploy-scan monitoring-check stack-check stack-rehearsal

help:  ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 found (python3 is $$(python3 -V 2>&1)). Install one, or name it: make PYTHON=/path/to/python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1); this project needs Python 3.11, 3.12 or 3.13."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# uv is quick and checks the same hashes; where it cannot reach an index that pip is set up for, pip
# does it. --no-deps: a lock file is complete, and leaves out the GPU library that xgboost asks for.
define install
	@echo "Installing $(1) into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps --compile-bytecode -r $(1) \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(1)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q mlops_assets serving
	@$(BIN)/mlops prepare
	@touch $@
endef

$(VENV)/.runtime: requirements/runtime.txt requirements/uv.txt pyproject.toml | $(BIN)/python
	$(call install,requirements/runtime.txt)

$(VENV)/.dev: requirements/dev.txt requirements/uv.txt pyproject.toml | $(BIN)/python
	$(call install,requirements/dev.txt)
	@touch $(VENV)/.runtime

setup: $(VENV)/.runtime  ## Make the environment

setup-dev: $(VENV)/.dev  ## Make the environment with the tools of development

demo: setup  ## Land real data and watch it become a model that answers
	@exec $(BIN)/mlops demo $(if $(filter-out 0 no false,$(ONCE)),--once) $(if $(filter-out 0 no false,$(DRIFT)),--drift)

dev: setup  ## Dagster alone, on the same instance (the same as `dagster dev`)
	@exec $(BIN)/mlops dev

load: setup  ## Test the running serving app under load (LOAD="URL --rate 200 --p99 50ms"; mlops load --help)
	@exec $(BIN)/mlops load $(LOAD)

test: lint pytest  ## Pass every test

pytest: setup-dev  ## The tests alone, without style and types
	$(BIN)/python -m pytest $(PYTEST_ARGS)

coverage: setup-dev  ## Pass every test, and say which lines none has run (takes twice as long)
	$(BIN)/python -m pytest --cov=mlops_assets --cov=serving --cov-report=term-missing:skip-covered $(PYTEST_ARGS)

bench: setup-dev  ## Measure what docs/figures.md shows
	@for name in loading cleveland churn new_use_case; do $(BIN)/python -m tests.benchmarks.$$name 2>/dev/null || exit 1; done

bench-serving: setup-dev  ## Measure serving beside a constant and beside other servers (PARTS="constant open")
	@$(BIN)/python -m tests.benchmarks.serving $(PARTS) 2>/dev/null

faults: setup-dev  ## Kill everything at named points and at random times (about 40 minutes)
	$(BIN)/python -m tests.recovery
	$(BIN)/python -m tests.recovery.decisions

fuzz: setup-dev  ## Send the serving app 2,000 requests made up from its OpenAPI schema
	$(BIN)/python -m tests.serving.fuzz

lint: style types delivery  ## Style, types, and what delivers

style: setup-dev  ## Style of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup-dev  ## Types
	$(BIN)/mypy

delivery: setup-dev  ## Workflows and Dockerfile
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/actionlint .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.gitlab-ci .gitlab-ci.yml
	$(BIN)/hadolint Dockerfile

data-checks: setup  ## Ingest the reference data in a folder of its own; its checks decide
	$(BIN)/mlops gate $(USE_CASE) --data-only --report $(REPORT) $(if $(DATA),--data $(DATA))

gate: setup  ## Data to verdict in a folder of its own, with a report (USE_CASE, DATA, REPORT, AGAINST)
	$(BIN)/mlops gate $(USE_CASE) --report $(REPORT) --against $(AGAINST) $(if $(DATA),--data $(DATA))

define build
	$(DOCKER) build $(if $(findstring buildah,$(DOCKER)),--format docker) --target $(1) --tag $(IMAGE)/$(1):$(TAG) \
		--build-arg BASE_IMAGE=$(BASE_IMAGE) --build-arg VERSION=$(VERSION) \
		--build-arg REVISION=$(REVISION) --build-arg CREATED=$(CREATED) $(BUILD_ARGS) .
endef

image:  ## Build both images (DOCKER=docker|podman|buildah, IMAGE, TAG, BASE_IMAGE, BUILD_ARGS)
	$(call build,serving)
	$(call build,dagster)

push:  ## Push both images; prints their digests, serving=sha256:... and dagster=sha256:...
	@for name in serving dagster; do \
		$(DOCKER) push $(IMAGE)/$$name:$(TAG) >&2 || exit 1; \
		digest=$$($(DOCKER) image inspect --format '{{index .RepoDigests 0}}' $(IMAGE)/$$name:$(TAG)) || exit 1; \
		echo "$$name=$${digest#*@}"; \
	done

audit: setup-dev  ## Known vulnerabilities of what the locks name; what cannot be asked about fails, too
	$(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements/runtime.txt -r requirements/serving.txt

# By digest: what was checked is what runs, whatever becomes of a tag.
define kustomization
resources: [../../../deploy/kubernetes/overlays/$(ENVIRONMENT)]
images:
  - {name: mlops-assets/serving, newName: $(IMAGE)/serving, digest: "$(SERVING)"}
  - {name: mlops-assets/dagster, newName: $(IMAGE)/dagster, digest: "$(DAGSTER)"}
endef
export kustomization

deploy:  ## Bring images to a cluster, by digest (ENVIRONMENT, IMAGE, SERVING, DAGSTER), and wait
	@echo "$(SERVING) $(DAGSTER)" | grep -Eqx 'sha256:[0-9a-f]{64} sha256:[0-9a-f]{64}' || { echo "deploy: give SERVING=sha256:... and DAGSTER=sha256:..., as make push prints them"; exit 2; }
	@test -d deploy/kubernetes/overlays/$(ENVIRONMENT) || { echo "deploy: there is no deploy/kubernetes/overlays/$(ENVIRONMENT)"; exit 2; }
	mkdir -p build/deploy/$(ENVIRONMENT)
	@echo "$$kustomization" > build/deploy/$(ENVIRONMENT)/kustomization.yaml
	$(KUBECTL) apply --server-side --field-manager mlops-deploy -k build/deploy/$(ENVIRONMENT)
	@case "$(ENVIRONMENT)" in \
		(argo-rollouts) echo "deploy: applied; kubectl argo rollouts --namespace $(NAMESPACE) status serving waits for it" ;; \
		(kserve) echo "deploy: applied; kubectl --namespace $(NAMESPACE) wait --for condition=Ready inferenceservice/serving waits for it" ;; \
		(*) $(KUBECTL) --namespace $(NAMESPACE) rollout status deployment --selector app.kubernetes.io/part-of=mlops-assets --timeout 10m ;; \
	esac

note:  ## The gate's summary as a note on a merge request of GitLab (in its CI)
	@printf 'PRIVATE-TOKEN: %s' "$$GATE_NOTE_TOKEN" | curl --fail --silent --show-error --output /dev/null \
		--header @- --data-urlencode "body@$(REPORT)/summary.md" \
		"$$CI_API_V4_URL/projects/$$CI_PROJECT_ID/merge_requests/$$CI_MERGE_REQUEST_IID/notes"

image-check: setup-dev  ## Run both images read-only, without a capability, as nobody; one predicts
	$(BIN)/python -m tests.ci.image --docker $(DOCKER) $(IMAGE)/serving:$(TAG) $(IMAGE)/dagster:$(TAG)

# Schemas of custom resources, and a scanner that wants other versions than we do: beside the rest.
MODELS := argo-rollouts@2.0.0 external-secrets@2.0.0 gateway-api@2.0.0 keda@2.0.0 prometheus-operator@6.0.0

build/kubernetes-models: Makefile
	npm install --prefix $@ --no-save --no-package-lock --no-audit --no-fund --ignore-scripts \
		$(addprefix @kubernetes-models/,$(MODELS))
	@touch $@

build/checkov:
	$(BIN)/python -m venv $@
	$@/bin/python -m pip install --quiet --disable-pip-version-check checkov==3.3.30

deploy-tools: build/kubernetes-models  ## Schemas of custom resources (needs npm)

deploy-check: setup-dev deploy-tools  ## Manifests, values and the stack, by their tests
	$(BIN)/python -m pytest -n0 --no-cov tests/deploy

deploy-scan: setup-dev build/checkov  ## Look for what is unsafe in the manifests, as they are deployed
	$(BIN)/python -m tests.deploy.scan build/checkov/bin/checkov

monitoring-check: setup-dev  ## Rules, routes and dashboards (needs promtool, amtool, prometheus)
	$(BIN)/python -m tests.deploy.prometheus_rule
	$(BIN)/python -m pytest -n0 --no-cov tests/deploy/test_monitoring.py

stack-check: setup-dev  ## The Compose stack
	$(BIN)/python -m pytest -n0 --no-cov tests/deploy/test_stack.py

stack-rehearsal: setup-dev  ## Take a batch to a champion with the stack's servers, without containers
	$(BIN)/python -m tests.deploy.rehearsal

lock: setup-dev  ## Resolve the dependencies anew
	$(BIN)/python requirements/lock.py

clean:  ## Remove what `make demo` made (MLOPS_HOME, .mlops by default)
	@if [ -x $(BIN)/mlops ]; then $(BIN)/mlops clean; else rm -rf .mlops; fi

distclean: clean  ## Remove the environment and every cache, too
	rm -rf $(VENV) dbt_features/target dbt_features/generated dbt_features/logs build *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
