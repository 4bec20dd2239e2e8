# Each target works on a fresh clone with nothing but Python 3.11+, make and a C library.
PYTHON ?= python3
VENV ?= .venv
PORT ?= 3000
HOST ?= 127.0.0.1
BIN := $(VENV)/bin
# onnxruntime and onnxruntime-gpu must not be installed together, so one of the two extras is chosen.
DEVICE ?= $(shell nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
# What a step does, in words, with the seconds that it took.
STEP := @sh .ci/step
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: install install-export compiled plain serve test test-fast test-long test-compiled test-slow test-fuzz test-browser \
	test-chaos test-gpu test-deploy test-versions test-lowest bench-smoke wheel clients client-types lint format picture \
	docs site descriptors lock clean

install: $(VENV)/.serve-$(DEVICE)

# What `sluice export`, `import` and `loadtest` need too, without the tools of the tests.
.PHONY: install-export
install-export: $(VENV)/.export-$(DEVICE)

# The hottest modules, compiled by mypyc. It takes a minute, a C compiler and Python's headers.
compiled: $(VENV)/.compiled

$(VENV)/.compiled: $(VENV)/.serve-$(DEVICE) mypyc.ini $(shell find service -name '*.py')
	@find service -name '*.so' -delete
	$(STEP) 'Compiling the request path (about a minute, once)' env HATCH_BUILD_HOOKS_ENABLE=1 $(PIP) --no-deps -e .
	@touch $@

# A compilation that is stopped halfway has moved it away.
pyproject.toml:
	mv $@.bak $@

# A wheel for this Python and machine, with the compiled modules in it.
wheel: $(VENV)/.serve-$(DEVICE)
	HATCH_BUILD_HOOKS_ENABLE=1 $(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

# Back to the sources, which is what `make test` tests: a compiled module goes before its source.
plain:
	find service -name '*.so' -delete
	rm -f *__mypyc*.so $(VENV)/.compiled

serve: install
	@$(MAKE) --no-print-directory compiled || { $(MAKE) --no-print-directory plain; \
		echo 'Compilation failed. Serving interpreted code, which is slower.'; }
	@$(BIN)/sluice serve --host $(HOST) --port $(PORT) $(ARGS)

# A file's tests share what they have set up, so a file stays in one process.
test: $(VENV)/.test-$(DEVICE) plain lint
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

# What takes seconds each: real worker processes, whole exports, memory that must not grow. CI runs these too.
test-long: $(VENV)/.test-$(DEVICE)
	$(BIN)/pytest -n auto --maxprocesses 4 -m 'long and not slow and not gpu and not browser and not deploy'

# Under a minute: what needs neither PyTorch nor a server, and one request to every route of one server.
FAST := tests/model_store tests/service/engine tests/service/protocol tests/service/codecs tests/service/metrics \
	tests/service/tasks tests/service/test_every_route.py tests/test_*.py --ignore tests/model_store/rows \
	tests/loadtests/report tests/loadtests/sending $(filter-out %/test_cli.py,$(wildcard tests/loadtests/test_*.py))
test-fast: $(VENV)/.test-$(DEVICE) plain
	$(BIN)/pytest $(FAST)

# The engine in this process against a plain loop, in a minute: has it become slower?
bench-smoke: $(VENV)/.test-$(DEVICE) plain
	$(BIN)/python -m benchmarks.smoke

# The same facts of the service, of what `make serve` runs.
test-compiled: $(VENV)/.test-$(DEVICE) compiled
	$(BIN)/pytest tests/service tests/conformance

# Mutated requests over real connections, 100,000 of them; `make test` sends 2,000.
test-fuzz: $(VENV)/.test-$(DEVICE)
	$(BIN)/pytest tests/fuzz -m slow -s

# The pages in Debian's Chromium: every example, drawing, streams, errors; no error on the console, no other origin.
test-browser: $(VENV)/.test-$(DEVICE)
	$(PIP) -e '.[$(DEVICE),text,sound,export,grpc,loadtest,tables,dev,browser]'
	$(BIN)/pytest tests/web -m browser

# What must not stop a server: killed workers, hot swaps, slow clients, signals, reloads, the largest requests, a soak.
# One table; half an hour.
test-chaos: $(VENV)/.test-$(DEVICE)
	$(BIN)/python -m tests.chaos

# What must hold on a machine with a GPU, as one table. Without a GPU it says so and fails (`python -m tests.gpu`: code 3).
test-gpu: $(VENV)/.test-$(DEVICE)
	$(BIN)/python -m tests.gpu

# What ships the service: image, pods, proxies, Prometheus, Ray. What is not installed is skipped, with the reason.
test-deploy: $(VENV)/.test-$(DEVICE) $(VENV)/clients/.ray
	$(BIN)/pytest tests/deploy -m deploy -rs

# Builds the image by podman and runs it: what answers, how it stops, what is in it, how large it is.
.PHONY: test-image
test-image: $(VENV)/.test-$(DEVICE)
	$(BIN)/pytest tests/deploy/test_image.py -m deploy -rs

# Clients of others that the slow tests run, each in an environment of its own. perf_analyzer, which comes with
# older tritonclients only, needs Debian's libb64-0d as well.
clients: $(VENV)/clients/.kserve $(VENV)/clients/.schemathesis $(VENV)/clients/.perf $(VENV)/clients/.typescript \
	$(VENV)/clients/.ray

$(VENV)/clients/.%: $(VENV)/.venv Makefile
	$(BIN)/python -m venv $(VENV)/clients/$*
	$(VENV)/clients/$*/bin/pip install --quiet --disable-pip-version-check $(CLIENT_$*)
	touch $@

# The compiler of the TypeScript client, where there is npm.
$(VENV)/clients/.typescript: $(VENV)/.venv Makefile
	mkdir -p $(VENV)/clients
	! command -v npm >/dev/null || npm install --silent --no-fund --no-audit --prefix $(VENV)/clients/typescript typescript@5.9.3
	touch $@

CLIENT_kserve := kserve==0.21.0
CLIENT_schemathesis := schemathesis==4.32.5
CLIENT_perf := --no-deps tritonclient==2.50.0 nvidia-cuda-runtime-cu12
CLIENT_uv := uv==0.13.9
CLIENT_ray := -e '.[cpu,text,sound,ray]' ray==2.60.0

test-slow: $(VENV)/.test-$(DEVICE) clients
	$(PIP) -e '.[$(DEVICE),text,sound,export,grpc,loadtest,score,remote,oci,dev,architectures]' 'moto[server]>=5'
	$(BIN)/pytest -m slow

# A short suite on the lowest and the newest Python, uvicorn and onnxruntime that `service/versions.py` names.
test-versions: install
	$(BIN)/python tests/versions.py

# What `make test-fast` runs and an export, with the lowest version of everything that pyproject.toml allows. Left out is
# what needs Triton's client: that is made for a newer protobuf than ours may be.
test-lowest: install
	$(BIN)/python tests/versions.py --lowest $(FAST) tests/export/test_served.py \
		--ignore tests/model_store/triton/test_schema.py

lint: $(VENV)/.test-$(DEVICE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p service -p export -p model_store -p loadtests -p benchmarks -p deploy.grafana
	$(BIN)/mypy sluice.py
	MYPYPATH=clients/python $(BIN)/mypy -p sluice_client -p clients.generator
	MYPYPATH=clients/python $(BIN)/mypy examples/client
	$(BIN)/lint-imports

format: $(VENV)/.test-$(DEVICE)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The dashboard for Grafana, from the definitions of the metrics.
.PHONY: dashboard
dashboard: $(VENV)/.test-$(DEVICE)
	$(BIN)/python -m deploy.grafana

# The picture of ARCHITECTURE.md, from the import graph.
picture: $(VENV)/.test-$(DEVICE)
	$(BIN)/python -m tests.support.import_graph

# The references in docs/, from the sources.
docs: $(VENV)/.test-$(DEVICE)
	$(BIN)/python -m tests.support.pages

# The documentation as a site, in build/site.
.PHONY: site
site: $(VENV)/.venv
	$(PIP) -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# The types and methods of the Python and TypeScript clients, from the OpenAPI document.
client-types: $(VENV)/.test-$(DEVICE)
	$(BIN)/python -m clients.generator

# The pictures of docs/how-to/playground.md. They need Debian's Chromium.
.PHONY: screenshots
screenshots: $(VENV)/.test-$(DEVICE)
	$(PIP) -e '.[browser]'
	$(BIN)/python -m tests.support.pages.screenshots

# The descriptors of the .proto files, by the protoc of grpcio-tools.
descriptors: model_store/triton/model_config.binpb service/transport/grpc/service.binpb

service/transport/grpc/service.binpb: model_store/triton/model_config.proto

%.binpb: %.proto | $(VENV)/.test-$(DEVICE)
	$(BIN)/python -m grpc_tools.protoc -I $(<D) -I model_store/triton --descriptor_set_out=$@ $(<F)

# What the images install, with hashes, for every Python and processor: after a change of pyproject.toml or of
# constraints.txt. No host, path or index of this machine goes into the files.
lock: requirements-cpu.lock requirements-gpu.lock deploy/image/loadtest.lock deploy/image/sbom.lock

UV_COMPILE := $(VENV)/clients/uv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 \
	--constraints constraints.txt --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links

requirements-%.lock: pyproject.toml constraints.txt Makefile $(VENV)/clients/.uv
	$(UV_COMPILE) --extra $* --extra text --extra sound --extra grpc --extra oidc --extra tracing --extra verify --output-file $@ pyproject.toml

deploy/image/%.lock: deploy/image/%.in constraints.txt Makefile $(VENV)/clients/.uv
	$(UV_COMPILE) --output-file $@ $<

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit("Sluice needs Python 3.11 or newer, this is " + sys.version) if sys.version_info < (3, 11) else 0'
	$(STEP) 'Making an environment of its own in $(VENV)' $(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.serve-$(DEVICE): $(VENV)/.venv pyproject.toml constraints.txt
	$(STEP) 'Installing Sluice and its libraries (one to five minutes, once)' $(PIP) -e '.[$(DEVICE),text,sound,completion]'
	@touch $@

$(VENV)/.export-$(DEVICE): $(VENV)/.venv pyproject.toml constraints.txt
	$(STEP) 'Installing what exports need (several minutes, once)' \
		$(PIP) -e '.[$(DEVICE),text,sound,completion,export,tables,loadtest]'
	@test -e $(VENV)/.serve-$(DEVICE) || touch $(VENV)/.serve-$(DEVICE)  # a newer one would be compiled again
	@touch $@

# Torch goes in together with what needs it: an unpinned torch would bring gigabytes of CUDA libraries.
$(VENV)/.test-$(DEVICE): $(VENV)/.venv pyproject.toml constraints.txt
	$(STEP) 'Installing what tests and exports need (several minutes, once)' \
		$(PIP) -e '.[$(DEVICE),text,sound,completion,export,grpc,loadtest,tables,score,remote,oci,tracing,dev]'
	@touch $@ $(VENV)/.serve-$(DEVICE) $(VENV)/.export-$(DEVICE)

clean: plain
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
