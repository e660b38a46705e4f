// Scripts by which shells complete verbs, options and their values.

/** A verb, as scripts know it. */
export interface Verb {
  /** As it is typed. */
  name: string;
  /** What it does, in one line. */
  about: string;
  /** Flags of each option, what it is for, and its values: none for any text. */
  options: { flags: string[]; about: string; takesValue: boolean; values: readonly string[] }[];
  /** What can be given besides options, where that is no file. */
  words: readonly string[];
}

/** Of bash. */
export function bash(verbs: readonly Verb[]): string {
  const values = verbs.flatMap(({ name, options }) =>
    options
      .filter((option) => option.values.length > 0)
      .map(
        ({ flags, values }) =>
          `    ${flags.map((flag) => `${name}:${flag}`).join('|')}) words='${values.join(' ')}' ;;`,
      ),
  );
  const files = verbs.flatMap(({ name, options }) =>
    options
      .filter((option) => option.takesValue && option.values.length === 0)
      .flatMap(({ flags }) => flags.map((flag) => `${name}:${flag}`)),
  );
  const all = verbs.map(({ name, options, words }) => {
    const flags = options.flatMap((option) => option.flags).join(' ');
    return `    ${name}) flags='${flags}' plain='${words.join(' ')}' ;;`;
  });
  return `# bash completion of higgs
_higgs() {
  local current=\${COMP_WORDS[COMP_CWORD]} verb=\${COMP_WORDS[1]} before=\${COMP_WORDS[COMP_CWORD-1]} words= flags= plain=
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '${verbs.map(({ name }) => name).join(' ')} --help --version' -- "$current"))
    return
  fi
  case "$verb:$before" in
${values.join('\n')}
    ${files.join('|')}) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  case "$verb" in
${all.join('\n')}
  esac
  if [ -z "$words" ]; then
    case "$current" in -*) words=$flags ;; *) words=$plain ;; esac
  fi
  if [ -n "$words" ]; then COMPREPLY=($(compgen -W "$words" -- "$current")); else COMPREPLY=($(compgen -f -- "$current")); fi
}
complete -o filenames -F _higgs higgs
`;
}

const quoted = (text: string) => text.replace(/'/g, '’').replace(/[[\]:\\]/g, '\\$&');

/** Of zsh. */
export function zsh(verbs: readonly Verb[]): string {
  const names = verbs.map(({ name, about }) => `    '${name}:${quoted(about)}'`);
  const cases = verbs.map(({ name, options, words }) => {
    const specs = options.flatMap(({ flags, about, takesValue, values }) => {
      const action = values.length > 0 ? `:value:(${values.join(' ')})` : takesValue ? ':value:_files' : '';
      return flags.map((flag) => `'*${flag}[${quoted(about)}]${action}'`);
    });
    const rest = words.length > 0 ? `'*:word:(${words.join(' ')})'` : `'*:file:_files'`;
    return `    ${name}) _arguments ${[...specs, rest].join(' ')} ;;`;
  });
  return `#compdef higgs
_higgs() {
  local -a verbs
  verbs=(
${names.join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe verb verbs
    return
  fi
  local verb=$words[2]
  shift words
  (( CURRENT-- ))
  case $verb in
${cases.join('\n')}
  esac
}
if [ "$funcstack[1]" = _higgs ]; then _higgs "$@"; else compdef _higgs higgs; fi
`;
}

/** Of fish. */
export function fish(verbs: readonly Verb[]): string {
  const text = (about: string) => `'${about.replace(/['\\]/g, '\\$&')}'`;
  const lines = verbs.flatMap(({ name, about, options, words }) => {
    const when = `complete -c higgs -n '__fish_seen_subcommand_from ${name}'`;
    return [
      `complete -c higgs -n __fish_use_subcommand -f -a ${name} -d ${text(about)}`,
      ...(words.length > 0 ? [`${when} -f -a '${words.join(' ')}'`] : []),
      ...options.map(({ flags, about, takesValue, values }) => {
        const named = flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
        const value = values.length > 0 ? `-x -a '${values.join(' ')}'` : takesValue ? '-r' : '';
        return [when, ...named, value, '-d', text(about)].filter(Boolean).join(' ');
      }),
    ];
  });
  return `# fish completion of higgs\n${lines.join('\n')}\n`;
}
