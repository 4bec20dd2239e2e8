# The prediction service and its reference models. No PyTorch, no compiler, no pip, no shell needed to run.
#
#   docker build -t sluice .
#   docker run --rm -p 3000:3000 --read-only --tmpfs /tmp --cap-drop ALL sluice
#
# Models of your own, instead of the reference models (a folder that `sluice export` or Triton wrote):
#   docker run --rm -p 3000:3000 -e SLUICE_STORE=/models -v /path/to/models:/models:ro sluice
#
# NVIDIA GPUs: --build-arg VARIANT=gpu, and a BASE_IMAGE with Python 3.11 or newer, its headers, pip, CUDA and cuDNN.
# Arguments after the image's name are added to `sluice serve`; every setting is also a variable SLUICE_<NAME>.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS build
ARG VARIANT=cpu
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# pip stays outside of the environment that is copied into the image.
RUN python3 -m venv --without-pip /opt/sluice

# Dependencies before code, so that a change of code installs none of them again.
COPY pyproject.toml constraints.txt ./
RUN python3 -c 'import sys, tomllib; \
project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
print(*project["dependencies"], *project["optional-dependencies"][sys.argv[1]], sep="\n")' "${VARIANT}" > requirements.txt \
    && python3 -m pip --python /opt/sluice/bin/python install --no-cache-dir -c constraints.txt -r requirements.txt

# Whether the path of a request is compiled: 1, or 0 to go by the interpreter, which needs no compiler here.
ARG COMPILED=1
RUN if [ "${COMPILED}" = 1 ] && ! command -v gcc > /dev/null; then \
        apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*; fi

# The locale that graphs change the case of texts by, where the base has it not. Its sources stay out of the image.
RUN mkdir -p /opt/locale \
    && if ! locale -a | grep -qi '^en_US\.utf-\?8$' && command -v apt-get > /dev/null; then \
        apt-get update && apt-get install --yes --no-install-recommends locales && rm -rf /var/lib/apt/lists/* \
        && localedef --no-archive --inputfile=en_US --charmap=UTF-8 /opt/locale/en_US.utf8; fi

COPY README.md LICENSE mypyc.ini sluice.py ./
COPY model_store model_store
COPY export export
COPY loadtests loadtests
COPY benchmarks benchmarks
COPY service service
RUN HATCH_BUILD_HOOKS_ENABLE="${COMPILED}" \
        python3 -m pip --python /opt/sluice/bin/python install --no-cache-dir --no-deps .

FROM ${BASE_IMAGE} AS run
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sluice" \
      org.opencontainers.image.description="Batched, monitored prediction service for ONNX models" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# A fixed number, so that a cluster can require it and a mounted folder can be given to it.
RUN groupadd --gid 10001 sluice \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin sluice \
    && mkdir /models

COPY --from=build /opt/sluice /opt/sluice
COPY --from=build /opt/locale /usr/lib/locale

# Whatever is written goes to /tmp: the root file system may be read-only.
ENV PATH=/opt/sluice/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_DO_NOT_TRACK=True \
    ORT_DISABLE_TELEMETRY=1

USER 10001:10001
WORKDIR /tmp
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client as h, os, ssl; c = h.HTTPSConnection('127.0.0.1', 3000, timeout=4, context=ssl._create_unverified_context()) if os.environ.get('SLUICE_TLS_CERTIFICATE') else h.HTTPConnection('127.0.0.1', 3000, timeout=4); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["sluice", "serve", "--host", "0.0.0.0", "--port", "3000"]
