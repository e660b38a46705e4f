// What a request may ask for, and how long it may take. docs/limits.md has the reason for each.

/** Sizes: bytes, characters, elements. */
export const LIMITS = {
  bodyBytes: 8 << 20,
  unreadBytes: 64 << 20,
  depth: 64,
  values: 400_000,
  choices: 16,
  logprobs: 20,
  stops: 16,
  stopBytes: 1024,
  biases: 4096,
  tools: 128,
  inputs: 2048,
  charactersPerToken: 64,
  shiftedContexts: 16,
  toldCharacters: 1 << 19,
  toldTokens: 1 << 17,
  schemaBytes: 65_536,
  schemaNodes: 1024,
  schemaDepth: 32,
  schemaProperties: 200,
  schemaEnum: 1000,
  schemaCount: 2000,
  schemaCounts: 20_000,
  schemaPattern: 256,
  waiting: 4096,
  clients: 4096,
  models: 256,
  pageFiles: 1000,
};

/** Times, in milliseconds. */
export const TIME_LIMITS = {
  body: 30_000,
  stalled: 60_000,
};
