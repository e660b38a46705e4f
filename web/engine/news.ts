// News for the page: at most some twenty a second, and always the last.

/** Milliseconds between two pieces of news. */
const BETWEEN = 50;

/** Thins out what is told often. `last` tells at once what was held back. */
export function thinned<T>(tell: (news: T) => void): ((news: T) => void) & { last(): void } {
  let held: { news: T } | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const last = () => {
    const { news } = held ?? {};
    held = undefined;
    if (news !== undefined) tell(news);
  };
  const due = () => {
    timer = undefined;
    last();
  };
  const offer = (news: T) => {
    held = { news };
    if (timer !== undefined) return;
    last();
    timer = setTimeout(due, BETWEEN);
  };
  return Object.assign(offer, { last });
}
