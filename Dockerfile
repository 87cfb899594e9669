# The service of one store, /data, as an ordinary user: docs/how-to/run-in-a-container.md
FROM python:3.13-slim AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/indexer \
    && /opt/indexer/bin/pip install --no-cache-dir ".[fastapi,redis]"

FROM python:3.13-slim AS service
RUN groupadd --gid 10001 indexer \
    && useradd --uid 10001 --gid indexer --home-dir /data --no-create-home --shell /usr/sbin/nologin indexer \
    && install --directory --owner indexer --group indexer --mode 0755 /data
COPY --from=build /opt/indexer /opt/indexer
COPY scripts/container-entrypoint /usr/local/bin/container-entrypoint
COPY examples/fastapi_app.py /opt/indexer/examples/fastapi_app.py
ENV PATH=/opt/indexer/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    INDEXER_STORE=/data
WORKDIR /opt/indexer
VOLUME /data
USER 10001:10001
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=2 CMD ["indexer", "--quiet", "status", "/data"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["container-entrypoint"]
CMD ["watch"]

# compose.yaml's: with a policy that belongs to root, which a file of the host that is mounted would not.
FROM service AS example
COPY --chown=0:0 --chmod=0644 examples/container/media.toml /etc/indexer/media.toml

FROM service
