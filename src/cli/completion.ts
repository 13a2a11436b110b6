/** `millrace completion bash|zsh|fish`: prints what makes a shell complete commands, flags and what flags take. Made of the table of commands. */
import { HELP, UsageError, type Command, type Flag } from './command.ts';

type Commands = Readonly<Record<string, Command>>;

const SHELLS = { bash, zsh, fish } as const;

/** The command; the table has it, too, so it is asked for when it runs. */
export function completion(commands: () => Commands): Command {
  const names = Object.keys(SHELLS);
  return {
    summary: 'Prints the completion of a shell, for example: source <(npx millrace completion bash)',
    words: ['SHELL'],
    oneOf: names,
    flags: {},
    exitCodes: { 0: 'printed', 2: 'wrong words' },
    run({ given: { SHELL: shell = '' } }) {
      if (!Object.hasOwn(SHELLS, shell))
        throw new UsageError(`SHELL: expected one of ${names.join(', ')}, got ${shell}`);
      process.stdout.write(SHELLS[shell as keyof typeof SHELLS](commands()));
      return Promise.resolve(0);
    },
  };
}

/** First words, each with what may follow it. */
function groupsOf(commands: Commands): Map<string, string[]> {
  const groups = new Map<string, string[]>([['help', []]]);
  for (const name of Object.keys(commands)) {
    const [first = '', second] = name.split(' ');
    groups.set(first, [...(groups.get(first) ?? []), ...(second === undefined ? [] : [second])]);
  }
  return groups;
}

function flagsOf({ flags }: Command): string[] {
  return [...Object.keys(flags), 'help'].map((flag) => `--${flag}`);
}

/** Of each command: the flags that take something, with what it may be; nothing where that cannot be listed. */
function choicesOf({ flags }: Command): Array<[flag: string, choices: readonly string[]]> {
  return Object.entries(flags).flatMap(([name, flag]) =>
    typeof flag === 'object' ? [[`--${name}`, flag.oneOf ?? []] as [string, readonly string[]]] : [],
  );
}

function bash(commands: Commands): string {
  const groups = groupsOf(commands);
  const seconds = [...groups].filter(([, words]) => words.length > 0);
  const cases = Object.entries(commands).map(
    ([name, command]) => `    '${name}') words='${[...flagsOf(command), ...(command.oneOf ?? [])].join(' ')}' ;;`,
  );
  const choices = Object.entries(commands).flatMap(([name, command]) =>
    choicesOf(command).map(([flag, values]) => `    '${name} ${flag}') words='${values.join(' ')}' ;;`),
  );
  return `# Completion of millrace for bash. source <(millrace completion bash)
_millrace() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]}
  local name=\${COMP_WORDS[1]} second=\${COMP_WORDS[2]} words=''
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '${[...groups.keys()].join(' ')}' -- "$current"))
    return
  fi
  if [ "$COMP_CWORD" -eq 2 ] && [ "\${current:0:1}" != - ]; then
    case $name in
${seconds.map(([first, words]) => `      ${first}) COMPREPLY=($(compgen -W '${words.join(' ')}' -- "$current")); return ;;`).join('\n')}
    esac
  fi
  case "$name $second" in
${seconds.flatMap(([first, words]) => words.map((word) => `    '${first} ${word}') name="$name $second" ;;`)).join('\n')}
  esac
  case $name in
${cases.join('\n')}
  esac
  case "$name $previous" in
${choices.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
# Where there is nothing to choose from, the shell offers files.
complete -o default -F _millrace millrace
`;
}

/** zsh runs the functions of bash. */
function zsh(commands: Commands): string {
  return `#compdef millrace
# Completion of millrace for zsh. source <(millrace completion zsh)
autoload -U +X bashcompinit && bashcompinit
${bash(commands)}# A file of fpath is run by the first completion, which waits for its answer.
if [ "\${funcstack[1]}" = _millrace ]; then _bash_complete -o default -F _millrace; fi
`;
}

function fish(commands: Commands): string {
  const groups = groupsOf(commands);
  const first = [...groups].map(([word, words]) => {
    const summary = commands[word]?.summary ?? (words.length > 0 ? words.join(', ') : 'Lists the commands.');
    return `complete -c millrace -f -n __fish_use_subcommand -a ${word} -d ${quote(summary)}`;
  });
  const rest = Object.entries(commands).flatMap(([name, command]) => {
    const [group = '', word] = name.split(' ');
    const inGroup = `__fish_seen_subcommand_from ${group}`;
    const words = groups.get(group) ?? [];
    const notYet = words.length > 0 ? `; and not __fish_seen_subcommand_from ${words.join(' ')}` : '';
    const own = word === undefined ? `${inGroup}${notYet}` : `${inGroup}; and __fish_seen_subcommand_from ${word}`;
    return [
      ...(word === undefined
        ? []
        : [`complete -c millrace -f -n ${quote(inGroup + notYet)} -a ${word} -d ${quote(command.summary)}`]),
      ...(command.oneOf ?? []).map((choice) => `complete -c millrace -f -n ${quote(own)} -a ${choice}`),
      ...Object.entries<Flag>({ ...command.flags, help: HELP }).map(([flag, what]) => {
        const [summary, takes] =
          typeof what === 'string'
            ? [what, '']
            : [what.summary, what.oneOf ? ` -x -a ${quote(what.oneOf.join(' '))}` : ' -r'];
        return `complete -c millrace -n ${quote(own)} -l ${flag}${takes} -d ${quote(summary)}`;
      }),
    ];
  });
  return `# Completion of millrace for fish. millrace completion fish | source\n${[...first, ...rest].join('\n')}\n`;
}

/** Of fish. */
function quote(text: string): string {
  return `'${text.replaceAll(/[\\']/g, String.raw`\$&`)}'`;
}
