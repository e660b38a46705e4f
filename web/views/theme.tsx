// Light or dark, as the system says or as a person chooses.

import { signal } from '@preact/signals';

const NAMES = { '': 'Auto', light: 'Light', dark: 'Dark' } as const;
type Name = keyof typeof NAMES;

const KEY = 'theme';
const chosen = signal<Name>((readStored() ?? '') as Name);
apply(chosen.value);

function readStored(): string | undefined {
  try {
    return localStorage.getItem(KEY) ?? undefined;
  } catch {
    return undefined; // storage may be forbidden
  }
}

function apply(name: Name): void {
  document.documentElement.dataset.theme = name;
}

export function Theme() {
  return (
    <label class="theme">
      <span class="hidden">Colours</span>
      <select
        value={chosen.value}
        onChange={({ currentTarget: { value } }) => {
          chosen.value = value as Name;
          apply(chosen.value);
          try {
            localStorage.setItem(KEY, value);
          } catch {
            // it lasts as long as the tab
          }
        }}
      >
        {Object.entries(NAMES).map(([name, title]) => (
          <option key={name} value={name}>
            {title}
          </option>
        ))}
      </select>
    </label>
  );
}
