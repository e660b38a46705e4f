#!/bin/sh
# Installs llama.cpp as its binding on npm has it, in build/llama, without what is for graphics cards: tests/llamacpp.test.ts compares with it.
set -eu
cd "$(dirname "$0")/../.."
version=3.22.1
platform=$(node -p 'process.platform + "-" + process.arch')
npm install --prefix build/llama --no-save --omit=optional --ignore-scripts --loglevel error \
  "node-llama-cpp@$version" "@node-llama-cpp/$platform@$version"
