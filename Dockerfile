# The step as an image: hash-locked packages and the interpreter, no shell, no package manager.
#
# Both bases carry Debian 13's Python 3.13, so what the first compiles runs in the second:
# https://github.com/GoogleContainerTools/distroless/blob/main/python3/README.md
# They are named by digest, which Dependabot keeps current; others are given with --build-arg.
ARG BUILDER=debian
ARG RUNTIME=distroless

FROM docker.io/library/debian:trixie-slim@sha256:d7e12182ce18b85b93007c1dedf31f2d29e01ccf3182cc4017c709b6259bc132 AS debian
FROM gcr.io/distroless/python3-debian13:latest@sha256:e866e2f9fbaa19f63e579cf2f61b7f76cd8a74c43a62a0af95d48678d9878436 AS distroless

FROM ${BUILDER} AS build
# Debian's own interpreter is the one that the other base has; its patch version is not ours to pin.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements/build.txt requirements/runtime.txt requirements/
# The tools live in one environment, the program in another, which gets no pip; scripts and headers
# of an environment are for people who work in it. A lock is whole: nothing else may come with it.
RUN python3 -m venv /opt/build \
    && python3 -m venv --without-pip /opt/binauthz-attest \
    && rm -r /opt/binauthz-attest/bin/*ctivate* /opt/binauthz-attest/include \
    && /opt/build/bin/python -m pip install --no-cache-dir --require-hashes --no-deps \
        --requirement requirements/build.txt \
    && /opt/build/bin/python -m pip check \
    && /opt/build/bin/python -m pip --python /opt/binauthz-attest/bin/python3 install \
        --no-cache-dir --no-compile --require-hashes --no-deps --requirement requirements/runtime.txt \
    && /opt/build/bin/python -m pip --python /opt/binauthz-attest/bin/python3 check
COPY . .
# What the program never reads goes first. Bytecode is then made for the rest; it is not checked
# against the sources' times, which layers need not keep.
RUN /opt/build/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation \
        --wheel-dir /dist . \
    && /opt/build/bin/python -m pip --python /opt/binauthz-attest/bin/python3 install \
        --no-cache-dir --no-compile --no-deps /dist/*.whl \
    && python3 requirements/prune.py /opt/binauthz-attest/lib/python3*/site-packages \
    && /opt/binauthz-attest/bin/python3 -m compileall -q --invalidation-mode unchecked-hash \
        /opt/binauthz-attest/lib

FROM ${RUNTIME}
COPY --from=build /opt/binauthz-attest /opt/binauthz-attest
ENV PYTHONUNBUFFERED=1
# No USER: GitHub's container actions and Cloud Build mount a workspace and files for outputs that
# belong to root, and GitHub asks for the default user:
# https://docs.github.com/en/actions/reference/workflows-and-actions/dockerfile-support#user
# Elsewhere, run it as any user you like; it writes only where it is told to.
ENTRYPOINT ["/opt/binauthz-attest/bin/binauthz-attest"]
# Where this image comes from; given by whoever builds it, and last, since they change every time.
ARG SOURCE=""
ARG VERSION=""
ARG REVISION=""
# https://github.com/opencontainers/image-spec/blob/main/annotations.md
LABEL org.opencontainers.image.title="binauthz-attest" \
      org.opencontainers.image.description="Sign, create and read back Google Binary Authorization attestations between build and deploy." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
