# The prediction service and its reference models. No PyTorch, no compiler, no pip, no shell needed to run.
#
#   docker build -t sluice .
#   docker run --rm -p 3000:3000 --read-only --tmpfs /tmp --cap-drop ALL sluice
#
# Models of your own, instead of the reference models (a folder that `sluice export` or Triton wrote):
#   docker run --rm -p 3000:3000 -e SLUICE_STORE=/models -v /path/to/models:/models:ro sluice
#
# NVIDIA GPUs: --build-arg VARIANT=gpu, and a BASE_IMAGE with Python 3.11 or newer, its headers, pip, CUDA and cuDNN.
# Arguments after the image's name are added to `sluice serve`; every setting is also a variable SLUICE_<NAME>, which wins
# over what the image sets. The health check has the same settings, so it follows port, base path and TLS.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS build
ARG VARIANT=cpu
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# pip stays outside of the environment that is copied into the image.
RUN python3 -m venv --without-pip /opt/sluice

# Dependencies before code, so that a change of code installs none of them again. `make lock` writes the files.
COPY requirements-*.lock ./
RUN python3 -m pip --python /opt/sluice/bin/python install --no-cache-dir --require-hashes -r "requirements-${VARIANT}.lock"

# Whether the path of a request is compiled: 1, or 0 to go by the interpreter, which needs no compiler here. A base image
# that has no compiler and cannot get one is served by the interpreter too.
ARG COMPILED=1
RUN if [ "${COMPILED}" = 1 ] && ! command -v gcc > /dev/null; then \
        { apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*; } \
        || true; fi

# Graphs that change the case of texts need en_US.UTF-8. Build it if the base image lacks it; its sources stay out.
RUN mkdir -p /opt/locale \
    && if ! locale -a | grep -qi '^en_US\.utf-\?8$'; then \
        { apt-get update && apt-get install --yes --no-install-recommends locales && rm -rf /var/lib/apt/lists/* \
        && localedef --no-archive --inputfile=en_US --charmap=UTF-8 /opt/locale/en_US.utf8; } \
        || echo 'No locale en_US.UTF-8 to be had: models that change the case of texts are not served.'; fi

COPY pyproject.toml README.md LICENSE mypyc.ini sluice.py ./
COPY model_store model_store
COPY export export
COPY loadtests loadtests
COPY benchmarks benchmarks
COPY service service
RUN build() { HATCH_BUILD_HOOKS_ENABLE="$1" \
        python3 -m pip --python /opt/sluice/bin/python install --no-cache-dir --no-deps .; }; \
    if [ "${COMPILED}" = 1 ] && command -v gcc > /dev/null && build 1; then exit 0; fi; \
    [ "${COMPILED}" = 0 ] || echo 'No compiler that works here: requests go by the interpreter, which is slower.'; \
    build 0

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
    ORT_DISABLE_TELEMETRY=1 \
    SLUICE_HOST=0.0.0.0 \
    SLUICE_PORT=3000

USER 10001:10001
WORKDIR /tmp
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["sluice", "health"]
ENTRYPOINT ["sluice", "serve"]
