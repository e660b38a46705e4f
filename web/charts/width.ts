// Charts are drawn at the width that they get, so that their letters have one size on any screen.

import { useLayoutEffect, useRef, useState } from 'preact/hooks';

/** The width of an element in pixels, and a reference to give to it. */
export function useWidth<T extends Element>(): { ref: { current: T | null }; width: number } {
  const ref = useRef<T>(null);
  const [width, setWidth] = useState(640);
  useLayoutEffect(() => {
    const measure = () => {
      const { width: now = 0 } = ref.current?.getBoundingClientRect() ?? {};
      if (now > 0) setWidth(Math.round(now));
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(ref.current!);
    return () => observer.disconnect();
  }, []);
  return { ref, width };
}
