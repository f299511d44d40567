# Assay as an image: the binary under both of its names, the C library and a user of its own. Kept in step by
# packaging/check-image.sh, which runs the RUN and COPY lines below without a container engine.
#
#   docker build --build-arg COMMIT="$(git rev-parse HEAD)" -t assay .

ARG RUST=1.95.0
FROM rust:${RUST}-slim-bookworm AS build
ARG PROFILE=dist
ARG COMMIT=
ARG FEATURES=
WORKDIR /src
COPY . .
# The toolchain is the image's own, whatever rust-toolchain.toml asks for beside the compiler.
ENV RUSTUP_TOOLCHAIN=${RUST}
RUN ASSAY_COMMIT="$COMMIT" cargo build --locked --package assay --profile "$PROFILE" --features "$FEATURES"
RUN mkdir -p /out/usr/local/bin /out/var/lib/assay && cp "target/$PROFILE/assay" /out/usr/local/bin/assay && ln -s assay /out/usr/local/bin/json_rpc_snoop

# C library and libgcc_s, certificates, a user `nonroot` (65532); no shell.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.source="https://github.com/assay-proofs/assay" \
      org.opencontainers.image.description="Execution proofs (EIP-8025) beside any beacon node" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build --chown=65532:65532 /out/var/lib/assay /var/lib/assay
COPY --from=build /out/usr/local/bin /usr/local/bin
USER 65532:65532
# The data directory is ~/.assay where nothing else is said.
ENV HOME=/var/lib/assay
# A snooper's slot calls ./json_rpc_snoop, with its arguments as the command: no entry point stands in its way.
WORKDIR /usr/local/bin
EXPOSE 9100/tcp 9100/udp 9101/udp 8651/tcp 5152/tcp
HEALTHCHECK --interval=15s --timeout=6s --start-period=120s CMD ["/usr/local/bin/assay", "health"]
STOPSIGNAL SIGTERM
CMD ["/usr/local/bin/assay", "node"]
