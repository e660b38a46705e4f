// News for the page: at most some twenty a second, and always the last.

/** Milliseconds between two pieces of news. */
const BETWEEN = 50;

/** Thins out what is told often. `last` tells what was held back. */
export function thinned<T>(tell: (news: T) => void): ((news: T) => void) & { last(): void } {
  let told = Number.NEGATIVE_INFINITY;
  let held: { news: T } | undefined;
  const send = (news: T) => {
    held = undefined;
    told = performance.now();
    tell(news);
  };
  const offer = (news: T) => {
    if (performance.now() - told >= BETWEEN) send(news);
    else held = { news };
  };
  return Object.assign(offer, {
    last() {
      if (held) send(held.news);
    },
  });
}
