// The fourth room: talk to the result, alone or beside the original with the same seed.

import type { ComponentType } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Side } from '../engine/protocol.ts';
import { answer, conversationFile } from '../files/conversation.ts';
import { saveBlob } from '../files/save.ts';
import { figure } from '../format.ts';
import {
  beside,
  differing,
  instructions,
  isSpeaking,
  meanKl,
  model,
  outcome,
  prompt,
  ready,
  recipe,
  type Speech,
  sampling,
  speeches,
  turns,
  waiting,
} from '../state/store.ts';
import { Copy } from './copy.tsx';
import { actions, asked } from './do.ts';

export function TalkView() {
  const isChat = ready.value.left?.hasTemplate ?? false;
  return (
    <>
      <h1 tabIndex={-1}>Talk to it</h1>
      <Compare />
      {isChat && <Conversation />}
      <div class={beside.value === '' ? 'sides' : 'sides two'}>
        <SideView side="left" title={titleOf('left')} />
        {beside.value !== '' && <SideView side="right" title={titleOf('right')} />}
      </div>
      <Kinship />
      <Answered isChat={isChat} />
      <Prompt isChat={isChat} />
      <SamplingFields />
      <Following />
      <p class="start">
        {outcome.value && (
          <button type="button" onClick={() => actions((module) => module.goTo('report'))}>
            Save it, and see the report
          </button>
        )}
      </p>
    </>
  );
}

function titleOf(side: Side): string {
  const bits = outcome.value?.recipe.bits;
  if (side === 'left') return bits === undefined ? (model.value?.name ?? 'The model') : `${figure(bits)} bits`;
  return beside.value === 'original' ? 'The original' : `${figure(Number(beside.value))} bits`;
}

// Earlier turns; the last answer stands below, as it comes.
function Conversation() {
  const last = turns.value.at(-1);
  const shown = last?.role === 'assistant' ? turns.value.slice(0, -1) : turns.value;
  return (
    <ol class="turns">
      {shown.map(({ role, content }, i) => (
        <li key={i} class={role}>
          {role === 'assistant' ? <Formatted text={content} /> : content}
        </li>
      ))}
    </ol>
  );
}

function SideView({ side, title }: { side: Side; title: string }) {
  const speech = speeches.value[side];
  const isChat = ready.value.left?.hasTemplate ?? false;
  const asked = turns.value.filter(({ role }) => role === 'user').at(-1)?.content ?? '';
  return (
    <section class="side" aria-label={title}>
      <h2>{title}</h2>
      <div class="said" aria-live={isSpeaking.value ? 'off' : 'polite'} aria-busy={isSpeaking.value}>
        {!isChat && <span class="asked">{asked}</span>}
        {isChat && beside.value === '' ? <Answer speech={speech} /> : <Words speech={speech} />}
        {isSpeaking.value && <span class="caret" aria-hidden="true" />}
      </div>
      <p class="aside figures-line">{figuresOf(speech)}</p>
    </section>
  );
}

// Beside another, tokens are compared as they are; alone, an answer has its format.
function Answer({ speech: { tokens } }: { speech: Speech }) {
  const thought = tokens.map((token) => token.thought).join('');
  return (
    <>
      {thought && <span class="thought">{thought}</span>}
      <Formatted text={tokens.map((token) => token.text).join('')} />
    </>
  );
}

// What reads Markdown comes with the first answer; until then it stands as it is written.
function Formatted({ text }: { text: string }) {
  const [Markdown, setMarkdown] = useState<ComponentType<{ text: string }>>();
  useEffect(() => {
    void import('./markdown.tsx').then(
      ({ default: loaded }) => setMarkdown(() => loaded),
      () => {}, // then it stays as it is written
    );
  }, []);
  if (!Markdown) return text;
  return (
    <div class="formatted">
      <Markdown text={text} />
    </div>
  );
}

/** Pixels from the page's end within which a person is at its end. */
const NEAR = 80;

// An answer that grows pushes the prompt down: who was at the end of the page stays there. It shows nothing.
function Following() {
  const { value: said } = speeches;
  const isAtEnd = useRef(false);
  useEffect(() => {
    const look = () => {
      isAtEnd.current = innerHeight + scrollY > document.documentElement.scrollHeight - NEAR;
    };
    look();
    addEventListener('scroll', look, { passive: true });
    return () => removeEventListener('scroll', look);
  }, []);
  useEffect(() => {
    if (isSpeaking.value && isAtEnd.current) scrollTo({ top: document.documentElement.scrollHeight });
  }, [said]);
  return null;
}

function Words({ speech: { tokens } }: { speech: Speech }) {
  const index = beside.value === '' ? undefined : differing.value;
  const words = (from: number, to?: number) => {
    const shown = tokens.slice(from, to);
    const thought = shown.map((token) => token.thought).join('');
    return (
      <>
        {thought && <span class="thought">{thought}</span>}
        {shown.map((token) => token.text).join('')}
      </>
    );
  };
  if (index === undefined) return words(0);
  return (
    <>
      {words(0, index)}
      <mark>{words(index, index + 1)}</mark>
      <span class="after">{words(index + 1)}</span>
    </>
  );
}

function figuresOf({ tokens, said }: Speech): string {
  const count = `${tokens.length} ${tokens.length === 1 ? 'token' : 'tokens'}`;
  if (!said) return tokens.length > 0 ? count : '';
  return `${count}, ${figure(said.tokensPerSecond)} a second`;
}

// How near the two are.
function Kinship() {
  if (beside.value === '' || speeches.value.right.tokens.length === 0) return null;
  const index = differing.value;
  const kl = meanKl.value;
  const same =
    index === undefined
      ? 'The same words so far.'
      : index === 0
        ? 'Other words from the first token on (marked).'
        : `The same first ${index === 1 ? 'token' : `${index} tokens`}, then other words (marked).`;
  return (
    <p class="kinship" id="kinship">
      {same}
      {kl !== undefined && ` The predictions are ${figure(kl)} nats apart a token (KL divergence).`}
    </p>
  );
}

function Compare() {
  if (!outcome.value || model.value?.isQuantized) return null;
  const sizes = [2, 3, 4, 5, 6, 8].filter((bits) => bits !== recipe.value.bits);
  return (
    <p class="compare">
      <label>
        Compare with{' '}
        <select
          id="beside"
          value={beside.value}
          disabled={isSpeaking.value || waiting.value !== undefined}
          onChange={({ currentTarget: { value } }) => {
            const who = value === '' || value === 'original' ? value : Number(value);
            actions((module) => module.compareWith(who));
          }}
        >
          <option value="">nothing</option>
          <option value="original">the original</option>
          {sizes.map((bits) => (
            <option key={bits} value={bits}>
              {bits} bits
            </option>
          ))}
        </select>
      </label>
    </p>
  );
}

// What to do with what was said.
function Answered({ isChat }: { isChat: boolean }) {
  if (isSpeaking.value || turns.value.length === 0) return null;
  return (
    <p class="row answered">
      <Copy text={answer} />
      <button type="button" class="quiet" onClick={() => actions((module) => module.sayAgain())}>
        Try again
      </button>
      {isChat && (
        <button type="button" class="quiet" onClick={() => actions((module) => module.retype())}>
          Edit the question
        </button>
      )}
      <Copy text={() => asked((module) => module.linkToTalk())}>Copy a link</Copy>
      <button type="button" class="quiet" onClick={() => saveBlob(conversationFile(), 'conversation.md')}>
        Save the text
      </button>
    </p>
  );
}

function Prompt({ isChat }: { isChat: boolean }) {
  const isOff = !ready.value.left || waiting.value !== undefined;
  const say = () => actions((module) => module.say());
  return (
    <form
      class="prompt"
      onSubmit={(event) => {
        event.preventDefault();
        if (!isOff && !isSpeaking.value) say();
      }}
    >
      <label class="grow">
        <span class="hidden">{isChat ? 'Your words' : 'A beginning, which the model continues'}</span>
        <textarea
          id="prompt"
          rows={2}
          placeholder={isChat ? 'Say something' : 'Begin a text; the model continues it'}
          value={prompt.value}
          onInput={({ currentTarget: { value } }) => {
            prompt.value = value;
          }}
          onKeyDown={(event) => {
            if (event.key === 'Escape' && isSpeaking.value) actions((module) => module.stop());
            if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
            event.preventDefault();
            if (!isOff && !isSpeaking.value) say();
          }}
        />
      </label>
      {isSpeaking.value ? (
        <button type="button" onClick={() => actions((module) => module.stop())}>
          Stop
        </button>
      ) : (
        <button type="submit" class="primary" id="say" disabled={isOff}>
          {isChat ? 'Send' : 'Continue'}
        </button>
      )}
    </form>
  );
}

function SamplingFields() {
  const { temperature, topP, topK, seed, maxTokens } = sampling.value;
  const field = (name: keyof typeof sampling.value, title: string, value: number, step: string, most?: number) => (
    <label>
      {title}
      <input
        type="number"
        min="0"
        max={most}
        step={step}
        value={value}
        onChange={({ currentTarget: { valueAsNumber } }) => {
          if (Number.isFinite(valueAsNumber)) actions((module) => module.sample({ [name]: valueAsNumber }));
        }}
      />
    </label>
  );
  return (
    <details>
      <summary>How words are chosen</summary>
      <div class="fields">
        {field('temperature', 'Temperature', temperature, '0.1', 5)}
        {field('topP', 'Top p', topP, '0.05', 1)}
        {field('topK', 'Top k (0: all)', topK, '1')}
        {field('seed', 'Seed', seed, '1')}
        {field('maxTokens', 'Most tokens', maxTokens, '1')}
      </div>
      {ready.value.left?.hasTemplate && (
        <label>
          Instructions to the model, before the conversation
          <textarea
            id="instructions"
            rows={2}
            value={instructions.value}
            onInput={({ currentTarget: { value } }) => {
              instructions.value = value;
            }}
          />
        </label>
      )}
      {ready.value.left?.hasTemplate && (
        <button type="button" class="quiet" onClick={() => actions((module) => module.clearTalk())}>
          Begin the conversation anew
        </button>
      )}
    </details>
  );
}
