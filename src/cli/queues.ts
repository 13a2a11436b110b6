/** `millrace queues`: how full the queues are; `queues pause` and `queues resume`. */
import type { Platform, QueueSnapshot } from '../index.ts';
import { EXIT_CODES, EXIT_CODES_OF_ONE, notThere, type Command } from './command.ts';
import { duration, say, sayList, some } from './output.ts';
import { JSON_FLAG } from './read-flags.ts';
import type { Column } from './table.ts';
import { withPlatform } from './with-platform.ts';

const COLUMNS: ReadonlyArray<Column<QueueSnapshot>> = [
  { title: 'QUEUE', of: ({ queue }) => queue, cutTo: 12 },
  { title: 'WAITING', of: ({ counts }) => counts.waiting, align: 'right' },
  { title: 'ACTIVE', of: ({ counts }) => counts.active, align: 'right' },
  { title: 'DELAYED', of: ({ counts }) => counts.delayed, align: 'right' },
  { title: 'PRIORITIZED', of: ({ counts }) => counts.prioritized, align: 'right', canGo: true },
  { title: 'FAILED', of: ({ counts }) => some(counts.failed), align: 'right', canGo: true },
  { title: 'DEAD', of: ({ counts }) => some(counts.dead), align: 'right' },
  { title: 'OLDEST', of: ({ oldestAgeMs }) => duration(oldestAgeMs), align: 'right' },
  { title: 'PAUSED', of: ({ isPaused }) => (isPaused ? 'paused' : '') },
];

/** The commands on queues. */
export const queues: Readonly<Record<string, Command>> = {
  queues: {
    summary: 'Lists the queues: jobs by state, dead letters, how long the oldest has waited.',
    flags: JSON_FLAG,
    exitCodes: EXIT_CODES,
    run: ({ flags }) =>
      withPlatform(async ({ history }) => {
        const rows = (await history.sample()).toSorted((one, other) => (one.queue < other.queue ? -1 : 1));
        return sayList(flags['json'], rows, { columns: COLUMNS, none: 'no queue was used yet' });
      }),
  },
  'queues pause': switching('Stops all workers from taking jobs of a queue; what runs goes on.', true),
  'queues resume': switching('Lets workers take jobs of a queue again.', false),
};

function switching(summary: string, isPaused: boolean): Command {
  return {
    summary,
    words: ['NAME'],
    flags: JSON_FLAG,
    exitCodes: EXIT_CODES_OF_ONE,
    run: ({ given: { NAME: queue = '' }, flags }) =>
      withPlatform(async (platform) => {
        await checkQueue(platform, queue);
        await (isPaused ? platform.jobs.pause(queue) : platform.jobs.resume(queue));
        return say(flags['json'], { queue, isPaused }, () => [`${queue} is ${isPaused ? 'paused' : 'not paused'}`]);
      }),
  };
}

/** @throws CommandError for a queue that nobody ever used */
export async function checkQueue({ jobs }: Platform, queue: string): Promise<void> {
  const names = await jobs.queues();
  if (!names.includes(queue)) throw notThere('queue', queue, names, 'queues');
}
