# Gantry's images, one target each: producer, worker, gantry (the command line, and `gantry up`).
#
#   docker build --target producer -t gantry-producer .
#
# Dependencies are compiled in a layer of their own, which stays valid until a Cargo.toml or Cargo.lock changes.
ARG RUST_IMAGE=rust:1.95-bookworm
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot

# What decides about dependencies, and nothing else: manifests, and sources reduced to stubs.
FROM ${RUST_IMAGE} AS manifests
WORKDIR /src
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock ! -path './.cargo/*' ! -path '*/src/lib.rs' ! -path '*/src/main.rs' ! -path '*/src/bin/*.rs' \
      ! -path '*/examples/*.rs' -delete \
 && find . -name '*.rs' | while read -r file; do echo 'fn main() {}' >"$file"; done \
 && find . -type d -empty -delete

FROM ${RUST_IMAGE} AS build
ENV CARGO_INCREMENTAL=0
WORKDIR /src
COPY --from=manifests /src .
RUN cargo build --release --locked -p gantry-producer -p gantry-worker -p gantry-cli
COPY . .
# Stubs are younger than a checkout may be, and cargo goes by age.
RUN find . -path ./target -prune -o -name '*.rs' -exec touch {} + \
 && cargo build --release --locked -p gantry-producer -p gantry-worker -p gantry-cli \
 && mkdir /out \
 && cp target/release/gantry-producer target/release/gantry-worker target/release/gantry /out/
# A fifth of each, and of use to a debugger alone: the same commit builds them again.
RUN strip --strip-all /out/*

FROM ${BASE_IMAGE} AS base
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.source="https://github.com/gantry-run/gantry" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="Gantry" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 65532:65532
ENV GANTRY_LOG_FORMAT=json

FROM base AS producer
LABEL org.opencontainers.image.title="gantry-producer" \
      org.opencontainers.image.description="Accepts runs, hands them to workers, and serves what happened"
COPY --from=build /out/gantry-producer /usr/local/bin/gantry-producer
# 3000: the public API; 3001: the worker API, for workers alone.
EXPOSE 3000 3001
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["/usr/local/bin/gantry-producer", "health", "--ready"]
ENTRYPOINT ["/usr/local/bin/gantry-producer"]

FROM base AS worker
LABEL org.opencontainers.image.title="gantry-worker" \
      org.opencontainers.image.description="Takes runs from the queue and carries them out on a Docker engine"
COPY --from=build /out/gantry-worker /usr/local/bin/gantry-worker
# 3002: health and metrics.
EXPOSE 3002
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["/usr/local/bin/gantry-worker", "health", "--ready"]
ENTRYPOINT ["/usr/local/bin/gantry-worker"]

FROM base AS gantry
LABEL org.opencontainers.image.title="gantry" \
      org.opencontainers.image.description="The command line, and the whole product in one process"
COPY --from=build /out/gantry /usr/local/bin/gantry
HEALTHCHECK NONE
ENTRYPOINT ["/usr/local/bin/gantry"]
