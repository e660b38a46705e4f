# A server of the OpenAI API, on Alpine and without root:
#   docker build -t higgs .
#   docker run -p 11435:11435 -e HIGGS_API_KEY=secret -v models:/models higgs hf:Qwen/Qwen3-0.6B
FROM node:22-slim AS build
WORKDIR /package
COPY . .
RUN npm ci --ignore-scripts && npm pack

FROM node:22-alpine
COPY --from=build /package/higgs-wasm-*.tgz /tmp/
RUN npm install -g --ignore-scripts /tmp/higgs-wasm-*.tgz && rm /tmp/*.tgz && mkdir /models && chown node /models
USER node
ENV HF_HOME=/models/huggingface HIGGS_HOME=/models/higgs
VOLUME /models
EXPOSE 11435
# Before it listens the server fetches and quantizes: as long as that takes it is not unhealthy.
HEALTHCHECK --start-period=1h --interval=30s --timeout=5s CMD wget -qO- http://127.0.0.1:11435/health || exit 1
ENTRYPOINT ["higgs", "serve", "--host", "0.0.0.0"]
