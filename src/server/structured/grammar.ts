// The grammar engine, XGrammar of MLC: a bundle of its own beside the server's, which imports it when the first request needs it.

export { type CompiledGrammar, GrammarCompiler, GrammarMatcher, TokenizerInfo } from '@mlc-ai/web-xgrammar';
