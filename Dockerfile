# One broker. No build: Node runs the sources. `docker build -t flotilla .`
FROM node:24-bookworm-slim AS packages
WORKDIR /flotilla
COPY package.json package-lock.json ./
# Native parts come prebuilt in their packages; without scripts the runtime that the package `node` would fetch stays out.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:24-bookworm-slim
ENV NODE_ENV=production UV_THREADPOOL_SIZE=8 MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=131072 MALLOC_TRIM_THRESHOLD_=8388608 NODE_COMPILE_CACHE=/flotilla/node_modules/.cache/flotilla
WORKDIR /flotilla
COPY --from=packages /flotilla/node_modules node_modules
COPY package.json ./
COPY cluster cluster
COPY src src
RUN mkdir /data node_modules/.cache && chown node:node /data node_modules/.cache
USER node
# Strips the types of everything a server loads, once for all containers.
RUN ["node", "--heap-growing-percent=150", "--max-semi-space-size=8", "--scavenger-max-new-space-capacity-mb=4", "--single-threaded-gc", "--no-allocation-site-pretenuring", "src/cli/main.ts", "server", "-t"]
VOLUME /data
# Clients, monitoring, other nodes.
EXPOSE 4222 8222 6222
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8222/healthz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
STOPSIGNAL SIGTERM
# The runtime flags are those of src/cli/runtime.mjs.
ENTRYPOINT ["node", "--heap-growing-percent=150", "--max-semi-space-size=8", "--scavenger-max-new-space-capacity-mb=4", "--single-threaded-gc", "--no-allocation-site-pretenuring", "src/cli/main.ts"]
CMD ["server", "-a", "0.0.0.0", "-p", "4222", "-m", "8222", "-js", "-sd", "/data"]
