// Experts that tokens are likely to go to in a block that has not come yet: its router is asked about the residual stream as it is now
// (Eliseev and Mazur, "Fast Inference of Mixture-of-Experts Language Models with Offloading"). What lies between changes the
// stream little. Thread 0 asks, while a block before it runs whose inputs have been gathered: of their regions all are free but
// the weights of its experts.

import type { Experts } from '../blocks/mixture.ts';
import { chooseExperts } from '../blocks/router.ts';
import type { State } from '../state.ts';
import { apply, normTokens } from '../steps.ts';
import type { Thread } from '../team.ts';

/** Experts that the first `tokens` tokens of a pass are likely to go to, each once, the one of the largest weight first. */
export function likelyExperts(thread: Thread, state: State, block: Experts, tokens: number): number[] {
  const { router, norm, apart, inputRotations, logits, chosen, routing, likely } = block;
  const alone = { ...thread, index: 0, count: 1 };
  const rotations = (apart?.routerRotations ?? inputRotations).filter(({ to, integers }) =>
    [to, integers].includes(router.input),
  );
  normTokens(alone, state, apart?.routerNorm ?? norm, rotations, 0, tokens, apart?.routerInput);
  apply(alone, state, router, tokens, logits);
  chooseExperts(alone, { ...block, weights: likely }, tokens);
  const floats = new Float32Array(thread.ints.buffer, likely, tokens * routing.top);
  const most = new Map<number, number>();
  for (const [i, expert] of thread.ints.subarray(chosen / 4, chosen / 4 + floats.length).entries()) {
    most.set(expert, Math.max(floats[i], most.get(expert) ?? 0));
  }
  return [...most].sort((a, b) => b[1] - a[1] || a[0] - b[0]).map(([expert]) => expert);
}
