// The grammar engine, XGrammar of MLC: a bundle of its own beside the server's, which imports it when the first request needs it. The build makes
// a function of the module, since an instance that has refused a grammar is not to be used any more.

import type * as Engine from '@mlc-ai/web-xgrammar';
import * as bundled from '@mlc-ai/web-xgrammar';

/** Makes an instance, with memory of its own: esbuild.mjs has the other half. */
export const openEngine = (bundled as unknown as { openEngine: () => typeof Engine }).openEngine;
export type { CompiledGrammar, GrammarCompiler, GrammarMatcher, TokenizerInfo } from '@mlc-ai/web-xgrammar';
