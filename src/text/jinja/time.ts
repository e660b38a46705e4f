// strftime in English, whatever the host's language.

const MONTHS = 'January February March April May June July August September October November December'.split(' ');
const DAYS = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ');

/** A time by a format of Python's. What the format has besides stays as it is. */
export function formatTime(format: string, now: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const [month, day] = [MONTHS[now.getMonth()], DAYS[now.getDay()]];
  const parts: Readonly<Record<string, string>> = {
    '%Y': String(now.getFullYear()),
    '%m': two(now.getMonth() + 1),
    '%d': two(now.getDate()),
    '%B': month,
    '%b': month.slice(0, 3),
    '%A': day,
    '%a': day.slice(0, 3),
    '%H': two(now.getHours()),
    '%M': two(now.getMinutes()),
    '%S': two(now.getSeconds()),
    '%%': '%',
  };
  return String(format).replace(/%[a-zA-Z%]/g, (part) => parts[part] ?? part);
}
