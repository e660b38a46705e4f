// Links to what is set: the page's own address follows it, and one to copy has the question, too.

import { writeAddress } from './address.ts';
import * as state from './store.ts';

/** A link that sets what is set now. @param prompt its first words; a person's own never stand in it unasked */
function link(prompt?: string): string {
  const { linked, recipe, chosen } = state;
  const said = { model: linked.value, recipe: recipe.value, prompt, sampling: chosen.value };
  return `${location.pathname}${writeAddress(said)}`;
}

export function writeUrl(): void {
  history.replaceState(null, '', link());
}

/** A link to the first question that was asked, whole. */
export function linkToTalk(): string {
  return `${location.origin}${link(state.turns.value[0]?.content)}`;
}
