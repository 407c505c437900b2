# The image of the daemon. tests/test_image.py runs these steps without a container engine.
#
#   docker build --tag flowwatch --build-arg REVISION="$(git rev-parse HEAD)" .
#
# For both architectures, with a bill of materials and where it came from attached, and pushed:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --sbom=true --provenance=mode=max --push \
#     --tag registry.example.org/flowwatch:0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" .
#
# Nothing is compiled, so no step knows the architecture: every locked package has a wheel for each (.ci/run looks).
# PYTHON_IMAGE may be given by digest (python@sha256:...) where builds must be reproducible to the byte.
#
# Beside the base image it holds 385 MB (128 MB compressed): pyarrow 158, pandas and numpy 95, DuckDB 65, gRPC 19.
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS builder
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# What rarely changes first: the locked dependencies, into an environment that holds no pip.
COPY deploy/lock/runtime.txt deploy/lock/build.txt ./
RUN python -m venv --without-pip /opt/flowwatch \
    && python -m pip --python /opt/flowwatch/bin/python install \
        --require-hashes --no-deps --only-binary :all: --no-compile --requirement runtime.txt \
    && python -m pip install --require-hashes --no-deps --only-binary :all: --requirement build.txt

COPY pyproject.toml README.md ./
COPY flowwatch flowwatch
COPY queries queries
COPY examples examples
COPY dashboards/README.md dashboards/README.md
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && python -m pip --python /opt/flowwatch/bin/python install --no-deps --no-index --no-compile dist/flowwatch-*.whl \
    && find /opt/flowwatch/lib -type d -name tests -prune -exec rm -r {} + \
    && /opt/flowwatch/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/flowwatch/lib \
    && mkdir -p /var/lib/flowwatch

# The final stage runs no command of its own, so any base with this Python at the same path will do.
FROM ${PYTHON_IMAGE}
ARG PYTHON_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="flowwatch" \
      org.opencontainers.image.description="Does the network of a Cilium cluster do what was declared, and where does it not?" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"

COPY --from=builder /opt/flowwatch /opt/flowwatch
COPY --from=builder --chown=65532:65532 /var/lib/flowwatch /var/lib/flowwatch

# With a read-only root the volume is the only place that is written to: the database, its spill files, temporary files.
ENV HOME=/var/lib/flowwatch \
    TMPDIR=/var/lib/flowwatch \
    PATH=/opt/flowwatch/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /var/lib/flowwatch
VOLUME ["/var/lib/flowwatch"]
EXPOSE 9950
USER 65532:65532

# No HEALTHCHECK: Kubernetes ignores it and asks the daemon's own endpoints.
ENTRYPOINT ["/opt/flowwatch/bin/flowwatch"]
CMD ["run"]
