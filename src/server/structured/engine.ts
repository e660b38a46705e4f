// The grammar engine's ways. It is built without exceptions: what it refuses ends its instance, whose stack stays where it was and runs over
// after some dozen times. So grammars are made on trial first, by an instance that is thrown away when it refuses one; and a model whose own
// instance refuses something gets a new one.

import { refused } from '../errors.ts';
import type { CompiledGrammar, GrammarCompiler, GrammarMatcher, openEngine, TokenizerInfo } from './grammar.ts';

/** What a grammar is of: JSON of a schema, or one of some texts. */
export type GrammarSource = { readonly schema: string } | { readonly texts: readonly string[] };

/** Grammars over the tokens of a vocabulary. */
export interface Compiler {
  /** Whether it has refused nothing yet: else it is not to be used for new grammars. */
  readonly isSound: boolean;
  /** @throws {HttpError} 400 when the engine makes no grammar of it */
  compile(source: GrammarSource): Promise<CompiledGrammar>;
  /** What follows a text through the grammar, from its beginning. */
  matcher(grammar: CompiledGrammar): Promise<GrammarMatcher>;
  /** Ends the instances. */
  dispose(): void;
}

type Instance = ReturnType<typeof openEngine>;

/** Tokens of white space in a row where JSON allows them: a model could write them for ever. */
export const SPACES = 2;

const unmade = () => {
  const param = 'response_format';
  const why = 'a bound or a pattern allows nothing, or a reference leads nowhere';
  return refused(`${param} must be a schema that becomes a grammar: ${why}`, param);
};

const rulesOf = ({ Grammar }: Instance, source: GrammarSource) =>
  'schema' in source
    ? Grammar.fromJSONSchema(source.schema, true, undefined, undefined, true, SPACES)
    : Grammar.fromEBNF(`root ::= ${source.texts.map(ebnf).join(' | ')}`);

let trial: Instance | undefined;

async function tryOut(open: () => Instance, source: GrammarSource): Promise<void> {
  trial ??= open();
  try {
    (await rulesOf(trial, source)).dispose();
  } catch {
    trial = undefined;
    throw unmade();
  }
}

/**
 * @param encoded tokens in the characters of GPT-2's table
 * @param ends ids that end a text
 */
export async function openCompiler(encoded: string[], ends: number[]): Promise<Compiler> {
  const { openEngine } = await import('./grammar.ts');
  const engine = openEngine();
  const info: TokenizerInfo = await engine.TokenizerInfo.createTokenizerInfo(
    ...([encoded, 'byte_level', false, encoded.length, ends] as const),
  );
  const compiler: GrammarCompiler = await engine.GrammarCompiler.createGrammarCompiler(info, false);
  let isSound = true;

  return {
    get isSound() {
      return isSound;
    },
    async compile(source) {
      await tryOut(openEngine, source);
      try {
        const rules = await rulesOf(engine, source);
        const grammar = await compiler.compileGrammar(rules);
        rules.dispose();
        grammar.tokenizerInfo = () => info; // a matcher asks for it, and each time a new handle would be left behind
        return grammar;
      } catch {
        isSound = false;
        throw unmade();
      }
    },
    matcher: (grammar) => engine.GrammarMatcher.createGrammarMatcher(grammar),
    dispose() {
      for (const each of [compiler, info]) each.dispose();
    },
  };
}

// A literal of the engine's notation.
function ebnf(text: string): string {
  const escaped = Array.from(text, (character) =>
    /[A-Za-z0-9 _.<>/|:[\]{}()-]/.test(character)
      ? character
      : `\\U${character.codePointAt(0)!.toString(16).padStart(8, '0')}`,
  );
  return `"${escaped.join('')}"`;
}
