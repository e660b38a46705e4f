// Numbers as people read them; a unit never leaves its number.

/** Bytes: `2.7 MB`, `740 kB`, `1.2 GB`. */
export function bytes(count: number): string {
  const [unit, name] = count < 1e6 ? [1e3, 'kB'] : count < 1e9 ? [1e6, 'MB'] : [1e9, 'GB'];
  return `${figure(count / unit)}\u00a0${name}`;
}

/** A count: `5.2 million`. */
export function many(count: number): string {
  if (count < 1e4) return String(count);
  const [unit, name] = count < 1e6 ? [1e3, 'thousand'] : count < 1e9 ? [1e6, 'million'] : [1e9, 'billion'];
  return `${figure(count / unit)}\u00a0${name}`;
}

/** Three digits that mean something, without a power of ten. */
export function figure(value: number): string {
  if (value === 0) return '0';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return Math.abs(value) >= 100 ? Math.round(value).toString() : Number(value.toFixed(Math.min(digits, 6))).toString();
}

export function percent(share: number): string {
  return `${Math.round(share * 100)}\u00a0%`;
}

/** Seconds: `8 s`, `2 min 5 s`, `1 h 4 min`. */
export function duration(seconds: number): string {
  if (seconds < 9.95) return `${Number(seconds.toFixed(1))}\u00a0s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}\u00a0s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60}\u00a0s`;
  return `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`;
}
