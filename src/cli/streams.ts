/** `millrace streams`: all streams, with what each group has still to do. */
import type { StreamGroupInfo, StreamInfo } from '../index.ts';
import { EXIT_CODES, type Command } from './command.ts';
import { ago, duration, sayList, some } from './output.ts';
import { JSON_FLAG } from './read-flags.ts';
import type { Column } from './table.ts';
import { withPlatform } from './with-platform.ts';

/** A line of the table: a group with its stream, or a stream without any. */
interface Line {
  stream: StreamInfo;
  group: Partial<StreamGroupInfo>;
  isFirst: boolean;
}

const COLUMNS: ReadonlyArray<Column<Line>> = [
  { title: 'STREAM', of: ({ stream, isFirst }) => (isFirst ? stream.name : ''), cutTo: 12 },
  { title: 'ENTRIES', of: ({ stream, isFirst }) => (isFirst ? stream.length : ''), align: 'right' },
  { title: 'OLDEST', of: ({ stream, isFirst }) => (isFirst ? ago(stream.oldestAt) : ''), align: 'right', canGo: true },
  { title: 'GROUP', of: ({ group }) => group.name ?? '-', cutTo: 8 },
  { title: 'LAG', of: ({ group: { lag, isEstimate } }) => lag && `${isEstimate ? '~' : ''}${lag}`, align: 'right' },
  { title: 'PENDING', of: ({ group }) => group.pending, align: 'right' },
  { title: 'FOR', of: ({ group }) => duration(group.oldestPendingMs), align: 'right', canGo: true },
  { title: 'RETRYING', of: ({ group }) => some(group.retrying ?? 0), align: 'right', canGo: true },
  { title: 'DEAD', of: ({ group }) => some(group.deadLetters ?? 0), align: 'right' },
  { title: 'CONSUMERS', of: ({ group }) => group.consumerCount, align: 'right' },
  { title: '', of: ({ group }) => (group.isPaused === true ? 'paused' : '') },
];

/** The commands on streams. */
export const streams: Readonly<Record<string, Command>> = {
  streams: {
    summary: 'Lists the streams and event stores with their groups: lag, pending entries, retries, dead letters.',
    flags: JSON_FLAG,
    exitCodes: EXIT_CODES,
    run: ({ flags }) =>
      withPlatform(async (platform) => {
        const names = (await platform.streams.known()).toSorted();
        const found: StreamInfo[] = [];
        for (const name of names) {
          const info = await platform.streams.inspect(name);
          if (info) found.push(info);
        }
        if (flags['json'] === true) return sayList(true, found, { columns: [], none: '' });
        return sayList(false, found.flatMap(linesOf), { columns: COLUMNS, none: 'no stream was used yet' });
      }),
  },
};

function linesOf(stream: StreamInfo): Line[] {
  // One that its contract declares and nobody has made yet has all to do.
  const missing = stream.missing.map((name) => ({ name, lag: stream.length }));
  const groups: ReadonlyArray<Partial<StreamGroupInfo>> = [...stream.groups, ...missing];
  return (groups.length === 0 ? [{}] : groups).map((group, at) => ({ stream, group, isFirst: at === 0 }));
}
