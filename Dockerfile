# Two images: `serving` answers requests, `dagster` holds the graph. `make image` builds both, and
# docs/images.md says how they run. Nothing here needs BuildKit: docker, podman and buildah build it.

# Any Linux with Python 3.11 to 3.13 and its module venv; the locks hold wheels for each of them.
ARG BASE_IMAGE=python:3.12-slim

FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
# pip stays in an environment of its own, out of the images. /state is for volumes, and is empty.
RUN ["python3", "-m", "venv", "/opt/pip"]
RUN ["python3", "-m", "venv", "--without-pip", "/opt/venv"]
RUN ["mkdir", "/state"]

FROM build AS serving-build
# For an index of one's own. They end with this stage: no image holds them.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_CERT
# Every file gets this time, so that the same lock gives the same layer, whatever the commit.
ARG SOURCE_DATE_EPOCH=315532800
COPY requirements/serving.txt requirements/
RUN /opt/pip/bin/pip --python /opt/venv/bin/python install --quiet --require-hashes \
        --no-deps --only-binary :all: --no-compile --requirement requirements/serving.txt \
    && /opt/venv/bin/python -m compileall -q -j0 --invalidation-mode unchecked-hash /opt/venv/lib \
    && find /opt/venv -exec touch --no-dereference --date "@${SOURCE_DATE_EPOCH}" {} +
COPY serving serving
RUN /opt/venv/bin/python -m compileall -q -j0 --invalidation-mode unchecked-hash serving \
    && find /app /state -exec touch --no-dereference --date "@${SOURCE_DATE_EPOCH}" {} +

FROM ${BASE_IMAGE} AS serving
COPY --from=serving-build /opt/venv /opt/venv
COPY --from=serving-build /app/serving /app/serving
COPY --from=serving-build --chown=10001:10001 /state /state
# Caches go to /tmp, state to /state; nothing else is ever written. The user has no name in the
# base image, and asks the environment for one.
ENV PATH=/opt/venv/bin:${PATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp LOGNAME=mlops MLOPS_HOME=/state SERVING_HOST=0.0.0.0 SERVING_PORT=8000
WORKDIR /app
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-m", "serving.alive"]
ENTRYPOINT ["python", "-m", "serving"]
# Last: what changes with every commit.
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="mlops-assets serving" \
      org.opencontainers.image.description="Answers requests with the champion of a use case" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"

FROM build AS dagster-build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_CERT
ARG SOURCE_DATE_EPOCH=315532800
COPY requirements/runtime.txt requirements/
RUN /opt/pip/bin/pip --python /opt/venv/bin/python install --quiet --require-hashes \
        --no-deps --only-binary :all: --no-compile --requirement requirements/runtime.txt \
    && /opt/venv/bin/python -m compileall -q -j0 --invalidation-mode unchecked-hash /opt/venv/lib \
    && find /opt/venv -exec touch --no-dereference --date "@${SOURCE_DATE_EPOCH}" {} +
COPY LICENSE README.md dagster.yaml pyproject.toml workspace.yaml ./
COPY serving serving
COPY mlops_assets mlops_assets
COPY dbt_features dbt_features
# The command `mlops` (it stays editable: the graph finds its dbt project beside its code), and dbt's
# manifest, which a container could not write.
RUN /opt/pip/bin/pip --python /opt/venv/bin/python install --quiet --no-deps \
        --no-build-isolation --no-compile --editable . \
    && /opt/venv/bin/mlops prepare \
    && /opt/venv/bin/python -m compileall -q -j0 --invalidation-mode unchecked-hash \
        serving mlops_assets \
    && find /app /state -exec touch --no-dereference --date "@${SOURCE_DATE_EPOCH}" {} + \
    && find /opt/venv -newermt "@${SOURCE_DATE_EPOCH}" \
        -exec touch --no-dereference --date "@${SOURCE_DATE_EPOCH}" {} +

FROM ${BASE_IMAGE} AS dagster
COPY --from=dagster-build /opt/venv /opt/venv
COPY --from=dagster-build /app /app
COPY --from=dagster-build --chown=10001:10001 /state /state
ENV PATH=/opt/venv/bin:${PATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp LOGNAME=mlops MLOPS_HOME=/state DBT_SEND_ANONYMOUS_USAGE_STATS=false
WORKDIR /app
USER 10001:10001
EXPOSE 4000
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s \
    CMD ["dagster", "api", "grpc-health-check", "--port", "4000"]
# No entry point: Dagster's launchers give the whole command of a run.
CMD ["dagster", "code-server", "start", "--host", "0.0.0.0", "--port", "4000", \
     "--module-name", "mlops_assets.definitions", "--location-name", "mlops_assets"]
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="mlops-assets dagster" \
      org.opencontainers.image.description="The graph: code location, runs, and the command mlops" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
