# The prediction service and its reference models. No PyTorch, no compiler, no pip, no shell needed to run.
#
#   docker build -t sluice .
#   docker run --rm -p 3000:3000 --read-only --tmpfs /tmp --cap-drop ALL sluice
#
# Models of your own, instead of the reference models (a folder that `sluice export` or Triton wrote):
#   docker run --rm -p 3000:3000 -e SLUICE_STORE=/models -v /path/to/models:/models:ro sluice
#
# NVIDIA GPUs: --build-arg VARIANT=gpu --build-arg BASE_IMAGE=nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04
# Arguments after the image's name are added to `sluice serve`; every setting is also a variable SLUICE_<NAME>, which wins
# over what the image sets. The health check has the same settings, so it follows port, base path and TLS.
ARG BASE_IMAGE=python:3.11-slim
ARG VARIANT=cpu

FROM ${BASE_IMAGE} AS base
# NVIDIA's images have no Python: they get that of their distribution.
# hadolint ignore=DL3008
RUN command -v python3 > /dev/null || { apt-get update \
    && apt-get install --yes --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*; }
# A fixed number, so that a cluster can require it and a mounted folder can be given to it.
RUN groupadd --gid 10001 sluice \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin sluice \
    && mkdir /models


FROM base AS tools
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# hadolint ignore=DL3008
RUN python3 -m pip --version > /dev/null 2>&1 || { apt-get update \
    && apt-get install --yes --no-install-recommends python3-pip && rm -rf /var/lib/apt/lists/*; }


FROM tools AS build
ARG VARIANT
# pip stays outside of the environment that is copied into the image.
RUN python3 -m venv --without-pip /opt/sluice

# Dependencies before code, so that a change of code installs none of them again. `make lock` writes the files.
COPY requirements-*.lock ./
RUN python3 -m pip --python /opt/sluice/bin/python install --no-cache-dir --require-hashes --report installed.json \
        -r "requirements-${VARIANT}.lock"

# 1 compiles the code that handles requests; 0 does not. Without a compiler, `strip` or Python's headers, and if they
# cannot be installed, it is not compiled either.
ARG COMPILED=1
# hadolint ignore=DL3008
RUN headers="$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')"; \
    if [ "${COMPILED}" = 0 ]; then set -- binutils; \
    elif [ -e "${headers}/Python.h" ]; then set -- gcc libc6-dev; \
    else set -- gcc libc6-dev python3-dev; fi; \
    { apt-get update && apt-get install --yes --no-install-recommends "$@" && rm -rf /var/lib/apt/lists/*; } || true

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

COPY deploy/image deploy/image
RUN python3 deploy/image/prune.py /opt/sluice && /opt/sluice/bin/python deploy/image/compile.py


# What is in the image: CycloneDX, by a tool that stays out of it.
FROM tools AS sbom
COPY deploy/image/sbom.lock deploy/image/sbom.py ./
RUN python3 -m venv --without-pip /opt/sbom \
    && python3 -m pip --python /opt/sbom/bin/python install --no-cache-dir --require-hashes -r sbom.lock
COPY --from=build /opt/sluice /opt/sluice
COPY --from=build /build/installed.json ./
RUN /opt/sbom/bin/python sbom.py /opt/sluice installed.json > /sluice.cdx.json


# `docker build --target loadtest`: Locust with the users of loadtests/, which deploy/compose runs on several workers.
FROM tools AS loadtest-build
COPY deploy/image/loadtest.lock ./
RUN python3 -m venv --without-pip /opt/loadtest \
    && python3 -m pip --python /opt/loadtest/bin/python install --no-cache-dir --require-hashes -r loadtest.lock

FROM base AS loadtest
COPY --from=loadtest-build /opt/loadtest /opt/loadtest
COPY loadtests /opt/loadtest/sluice/loadtests
ENV PATH=/opt/loadtest/bin:${PATH} \
    PYTHONPATH=/opt/loadtest/sluice \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
USER 10001:10001
WORKDIR /tmp
EXPOSE 8089 5557
ENTRYPOINT ["locust", "--locustfile", "/opt/loadtest/sluice/loadtests/locustfile.py"]


# The base image without pip, manuals and translations. The service has no use for them; licences stay.
FROM base AS trimmed
RUN stdlib="$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && if dpkg --status python3-pip > /dev/null 2>&1; then apt-get purge --yes --auto-remove python3-pip python3-venv; \
        else python3 -m pip uninstall --yes setuptools wheel pip; fi \
    && rm -rf "${stdlib}/ensurepip" "${stdlib}/idlelib" "${stdlib}/lib2to3" "${stdlib}/test" /usr/share/python-wheels \
        /usr/share/man /usr/share/info /usr/share/locale /var/cache/apt /var/lib/apt/lists /root/.cache \
    && find /usr/share/doc -type f ! -name 'copyright*' -delete \
    && { python3 -m compileall -q "${stdlib}" || echo 'Some modules of Python cannot be compiled: a start takes longer.'; }

# A layer only hides what it deletes, so the trimmed files are copied. CUDA's image is kept as it is, with its variables.
FROM scratch AS run-cpu
# hadolint ignore=DL3067
COPY --from=trimmed / /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8

FROM base AS run-gpu


# hadolint ignore=DL3006
FROM run-${VARIANT:-cpu} AS run
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sluice" \
      org.opencontainers.image.description="Batched, monitored prediction service for ONNX models" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

COPY --from=build /opt/sluice /opt/sluice
COPY --from=sbom /sluice.cdx.json /opt/sluice/sbom.cdx.json

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
