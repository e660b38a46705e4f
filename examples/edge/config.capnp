# npx workerd serve examples/edge/config.capnp

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "higgs", worker = .higgs)],
  sockets = [(name = "http", address = "127.0.0.1:8787", http = (), service = "higgs")],
);

const higgs :Workerd.Worker = (
  compatibilityDate = "2026-01-01",
  modules = [
    (name = "worker.js", esModule = embed "worker.js"),
    (name = "higgs-wasm", esModule = embed "../../build/index.js"),
    (name = "higgs.wasm", wasm = embed "../../build/higgs.wasm"),
  ],
);
