/**
 * `millrace schedules remove`: for schedules whose code has gone.
 *
 * What a worker declares it removes again once it declares it no more; but an application that is gone, or a worker that runs under another
 * owner now, removes nothing, and its schedules would tick for ever. One that is still in somebody's code comes back, which is said.
 */
import type { Platform, ScheduleInfo } from '../index.ts';
import { notThere, UsageError, type Command, type CommandError, type Words } from './command.ts';
import { confirm, YES_FLAG } from './confirm.ts';
import { note, say } from './output.ts';
import { JSON_FLAG, textOf } from './read-flags.ts';
import { declarersOf, type Declarers } from './schedules-declarers.ts';
import { untilCtrlC } from './until-ctrl-c.ts';
import { withPlatform } from './with-platform.ts';

/** What was done. */
interface Removed {
  removed: string[];
  /** Those that somebody else removed first. */
  gone: string[];
  /** Of those that were removed, the ones that a worker which runs has in its code. */
  comeBack: string[];
  aborted: boolean;
}

export const schedulesRemove: Command = {
  summary: 'Removes schedules whose code has gone: by their names, or all of an owner. Asks first.',
  words: ['[NAME...]'],
  flags: { owner: { value: 'OWNER', summary: 'All that this owner has declared.' }, ...YES_FLAG, ...JSON_FLAG },
  exitCodes: {
    0: 'done',
    1: 'failed, cut short, there is no such schedule or owner, or you said no',
    2: 'wrong words, or there was nobody to ask',
  },
  run: async (words) => {
    const { flags } = words;
    const isMeant = targetOf(words);
    return withPlatform(async (platform) => {
      const [all, declarers] = await Promise.all([platform.schedules.list(), declarersOf(platform)]);
      const meant = isMeant(all);
      warn(meant, declarers);
      const what = meant.length === 1 ? `the schedule ${meant[0]?.id}` : `${meant.length} schedules`;
      if (!(await confirm(`Remove ${what}? No more jobs come of it; those that are there stay.`, flags))) return 1;
      const answer = await untilCtrlC((signal) => remove(platform, meant, declarers, signal));
      say(flags['json'], answer, linesOf);
      if (answer.aborted) note('Cut short by Ctrl-C; the rest is where it was.');
      return answer.aborted ? 1 : 0;
    });
  },
};

/** Chooses among all schedules. @throws UsageError, CommandError */
function targetOf({ rest, flags }: Words): (all: readonly ScheduleInfo[]) => ScheduleInfo[] {
  const owner = textOf('owner', flags);
  if (rest.length === 0 && owner === undefined) throw new UsageError('expected NAME, or --owner');
  if (rest.length > 0 && owner !== undefined) throw new UsageError('expected names or --owner, not both');
  if (owner === undefined) return (all) => named(all, rest);
  return (all) => {
    const owned = all.filter((one) => one.owner === owner);
    if (owned.length > 0) return owned;
    const owners = new Set(all.map((one) => one.owner));
    throw notThere('owner', owner, owners, 'schedules');
  };
}

/** @throws CommandError for one that is not there; nothing is removed then */
function named(all: readonly ScheduleInfo[], names: readonly string[]): ScheduleInfo[] {
  return [...new Set(names)].map((name) => {
    const found = all.find(({ id }) => id === name);
    if (found) return found;
    throw unknownSchedule(name, all);
  });
}

export function unknownSchedule(name: string, all: readonly ScheduleInfo[]): CommandError {
  const ids = all.map(({ id }) => id);
  return notThere('schedule', name, ids, 'schedules');
}

function warn(meant: readonly ScheduleInfo[], declarers: Declarers): void {
  for (const one of meant) {
    const by = declarers(one);
    if (by.length > 0)
      note(`${one.id}: declared by ${by.join(', ')}. It comes back with the next start of a worker that declares it.`);
  }
}

async function remove(
  { schedules }: Platform,
  meant: readonly ScheduleInfo[],
  declarers: Declarers,
  signal: AbortSignal,
): Promise<Removed> {
  const answer: Removed = { removed: [], gone: [], comeBack: [], aborted: false };
  for (const one of meant) {
    if (signal.aborted) return { ...answer, aborted: true };
    const wasThere = await schedules.remove(one.id);
    (wasThere ? answer.removed : answer.gone).push(one.id);
    if (wasThere && declarers(one).length > 0) answer.comeBack.push(one.id);
  }
  return answer;
}

function linesOf({ removed, gone }: Removed): string[] {
  return [...removed.map((id) => `removed ${id}`), ...gone.map((id) => `${id} was gone already`)];
}
