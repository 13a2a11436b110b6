# The platform as a container: compiled code, production dependencies, an unprivileged user. Its root may be read-only: only /data, for the
# embedded server, and /tmp are ever written to. docs/deployment.md tells how the parts are run.
FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json tsconfig.json ./
RUN npm ci --ignore-scripts
COPY src src
COPY dashboard dashboard
COPY workers workers
# npm keeps the compiler, as a package takes it for an optional peer.
RUN npm run build && npm prune --omit=dev --ignore-scripts && rm -r node_modules/typescript node_modules/@typescript
# Browsers are given styles and scripts as they are; all else of the folder is in dist.
RUN find dashboard -type f ! -name '*.css' ! -path 'dashboard/client/*.js' -delete && find dashboard -type d -empty -delete

FROM node:24-slim
ENV NODE_ENV=production HOST=0.0.0.0 PORT=3000 MILLRACE_DATA=/data MILLRACE_CACHE=/data/cache
WORKDIR /app
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY --from=build /app/dashboard dashboard
COPY package.json LICENSE ./
COPY lua lua
COPY src/cli/millrace.js src/cli/millrace.js
RUN mkdir /data && chown node:node /data
# By number, so that Kubernetes can see that it is not root. It is the user node.
USER 1000
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/readyz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# Node itself is process 1, so that SIGTERM reaches it. In production: `node dist/workers/main.js`, `node src/cli/millrace.js dashboard` and so on.
CMD ["node", "src/cli/millrace.js", "dev"]
