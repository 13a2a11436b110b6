/** One frame of `millrace top`, as lines. */
import { formatMs, type WorkerInfo } from '../index.ts';
import { duration, some } from './output.ts';
import { cut, table, type Column } from './table.ts';
import type { TopLook, TopQueue } from './top-look.ts';

/** Where a frame is to fit. */
export interface FrameSize {
  columns: number;
  /** Default: as many as it takes. */
  rows?: number;
  /** Default false. */
  hasColours?: boolean;
}

const QUEUES: ReadonlyArray<Column<TopQueue>> = [
  { title: 'QUEUE', of: ({ queue }) => queue, cutTo: 8 },
  { title: 'WAITING', of: ({ counts }) => counts.waiting + counts.prioritized, align: 'right' },
  { title: 'ACTIVE', of: ({ counts }) => counts.active, align: 'right' },
  { title: 'DELAYED', of: ({ counts }) => some(counts.delayed), align: 'right', canGo: true },
  { title: 'DEAD', of: ({ counts }) => some(counts.dead), align: 'right' },
  { title: 'OLDEST', of: ({ oldestAgeMs }) => duration(oldestAgeMs), align: 'right', canGo: true },
  { title: 'DONE/MIN', of: ({ donePerMinute }) => donePerMinute, align: 'right' },
  { title: 'FAILED/MIN', of: ({ failedPerMinute }) => some(failedPerMinute ?? 0), align: 'right', canGo: true },
  { title: '', of: ({ isPaused }) => (isPaused ? 'paused' : '') },
];

const workerColumns = (nowMs: number): ReadonlyArray<Column<WorkerInfo>> => [
  { title: 'WORKER', of: ({ host, pid }) => `${host}:${pid}`, cutTo: 8 },
  { title: 'STATE', of: ({ state }) => state },
  { title: 'WORKS ON', of: worksOn, cutTo: 8 },
  { title: 'ACTIVE', of: (worker) => `${activeOf(worker)}/${slotsOf(worker)}`, align: 'right' },
  { title: 'LOOP LAG', of: ({ eventLoopLagMs }) => formatMs(Math.round(eventLoopLagMs)), align: 'right' },
  { title: 'MEMORY', of: ({ rssBytes }) => `${Math.round(rssBytes / 1_048_576)} MB`, align: 'right', canGo: true },
  { title: 'UP', of: ({ startedAt }) => formatMs(Math.max(0, nowMs - startedAt)), align: 'right', canGo: true },
];

const BOLD = '1';
const RED = '31';
const YELLOW = '33';
const LATE_MS = 250;

/** The lines, no more and no wider than fit. */
export function frameOf({ at, redis, queues, workers }: TopLook, size: FrameSize): string[] {
  const { columns, rows = Infinity, hasColours = false } = size;
  const active = workers.reduce((sum, worker) => sum + activeOf(worker), 0);
  const slots = workers.reduce((sum, worker) => sum + slotsOf(worker), 0);
  const silent = workers.filter(({ state }) => state === 'silent').length;
  const head = [
    `Millrace  ${redis}  ${new Date(at).toISOString().slice(11, 19)}Z`,
    `${count(queues.length, 'queue')}, ${count(workers.length, 'worker')}${silent > 0 ? ` (${silent} silent)` : ''}, ${active} of ${slots} slots busy`,
  ].map((line) => cut(line, columns));
  const paint = (code: string, line: string): string => (hasColours ? `\u001b[${code}m${line}\u001b[0m` : line);

  // What two tables, their titles, and the empty lines before them leave.
  const room = Math.max(2, rows - head.length - 4);
  const forWorkers = Math.min(workers.length, Math.max(Math.floor(room / 2), room - queues.length));
  const shownQueues = queues.slice(0, Math.max(1, room - forWorkers));
  const shownWorkers = workers.slice(0, forWorkers);
  const part = <Row>(
    all: readonly Row[],
    shown: readonly Row[],
    fields: ReadonlyArray<Column<Row>>,
    none: string,
    colour: (row: Row) => string | undefined,
  ): string[] => {
    if (all.length === 0) return ['', none];
    const lines = table(shown, fields, columns);
    // Where the terminal is too narrow for a table, lines are no rows.
    const isTable = lines.length === shown.length + 1;
    const painted = lines.map((line, place) => {
      const row = shown[place - 1];
      const code = row === undefined ? BOLD : colour(row);
      return isTable && code !== undefined ? paint(code, line) : line;
    });
    const left = all.length - shown.length;
    return ['', ...painted.slice(0, left > 0 ? -1 : undefined), ...(left > 0 ? [`... ${left + 1} more`] : [])];
  };
  return [
    ...head,
    ...part(queues, shownQueues, QUEUES, 'no queue was used yet', queueColour),
    ...part(workers, shownWorkers, workerColumns(at), 'no worker runs', workerColour),
  ].slice(0, rows);
}

function count(many: number, what: string): string {
  return `${many} ${what}${many === 1 ? '' : 's'}`;
}

function queueColour({ counts, isPaused }: TopQueue): string | undefined {
  return counts.dead > 0 ? RED : isPaused ? YELLOW : undefined;
}

function workerColour({ state, eventLoopLagMs }: WorkerInfo): string | undefined {
  if (state === 'silent') return RED;
  return state === 'draining' || eventLoopLagMs >= LATE_MS ? YELLOW : undefined;
}

function worksOn({ queues, consumers }: WorkerInfo): string {
  return [...queues.map(({ name }) => name), ...consumers.map(({ stream, group }) => `${stream}/${group}`)].join(', ');
}

function activeOf({ queues, consumers }: WorkerInfo): number {
  return [...queues, ...consumers].reduce((sum, { active }) => sum + active, 0);
}

function slotsOf({ queues, consumers }: WorkerInfo): number {
  return [...queues, ...consumers].reduce((sum, { concurrency }) => sum + concurrency, 0);
}
