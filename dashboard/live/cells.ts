/**
 * A snapshot as pages show it: one cell for each figure, by name, with its text as it is written there.
 *
 * Texts are made here and not in the browser, so that a figure looks the same before and after it has changed.
 */
import type { Tone } from '../view/values.tsx';
import { countText, durationText, sizeText } from './texts.ts';
import type { QueueFigures, Snapshot } from './snapshot.ts';

/** The text; the value, where something depends on it; the tone of a badge. */
export type Cell = readonly [text: string, value?: number, tone?: Tone];

export type Cells = ReadonlyMap<string, Cell>;

export const WORKER_TONES = { running: 'completed', draining: 'delayed', silent: 'failed' } as const;

/** The cells of a snapshot; see docs/dashboard.md for their names. */
export function cellsOf(snapshot: Snapshot): Cells {
  const cells = new Map<string, Cell>();
  const { totals, queues, workers, workerStates, streams, alerts = [] } = snapshot;
  addFigures(cells, 'total', totals);
  for (const queue of queues) {
    addFigures(cells, `queue:${queue.name}`, queue);
    cells.set(`queue:${queue.name}:state`, queue.isPaused ? ['paused', 1, 'paused'] : ['running', 0, 'completed']);
  }
  for (const [state, count] of Object.entries(workerStates)) cells.set(`workers:${state}`, countCell(count));
  for (const { id, state, active, concurrency, lagMs, rssBytes, seenAt } of workers) {
    cells.set(`worker:${id}:state`, [state, state === 'silent' ? 1 : 0, WORKER_TONES[state]]);
    cells.set(`worker:${id}:active`, [`${active} of ${concurrency}`, active]);
    cells.set(`worker:${id}:lag`, [durationText(lagMs), lagMs]);
    cells.set(`worker:${id}:memory`, [sizeText(rssBytes), rssBytes]);
    cells.set(`worker:${id}:seen`, [`${durationText(snapshot.at - seenAt)} ago`, seenAt]);
  }
  for (const { name, length, groups } of streams) {
    cells.set(`stream:${name}:length`, countCell(length));
    for (const group of groups)
      for (const figure of ['lag', 'pending', 'dead'] as const)
        cells.set(`group:${name}/${group.name}:${figure}`, countCell(group[figure]));
  }
  cells.set('streams:lag', countCell(streams.flatMap(({ groups }) => groups).reduce((sum, { lag }) => sum + lag, 0)));
  cells.set('alerts:firing', countCell(alerts.length));
  cells.set('alerts:critical', countCell(alerts.filter(({ severity }) => severity === 'critical').length));
  addLists(cells, snapshot);
  return cells;
}

/** What tells a page that rows came or went. */
function addLists(cells: Map<string, Cell>, { queues, counts, workers, streams, alerts = [] }: Snapshot): void {
  const list = (name: string, ids: readonly string[]): void => {
    cells.set(`list:${name}`, [hashOf(ids)]);
  };
  list('queues', [String(counts.queues), ...queues.map(({ name }) => name).toSorted()]);
  list('workers', [String(counts.workers), ...workers.map(({ id }) => id).toSorted()]);
  list('streams', streams.flatMap(({ name, groups }) => [name, ...groups.map((group) => group.name)]).toSorted());
  list('alerts', alerts.map(({ id, acknowledgedBy = '' }) => `${id} ${acknowledgedBy}`).toSorted());
}

function addFigures(cells: Map<string, Cell>, name: string, figures: Omit<QueueFigures, 'name' | 'isPaused'>): void {
  for (const state of ['waiting', 'active', 'delayed', 'completed', 'failed', 'dead'] as const)
    cells.set(`${name}:${state}`, countCell(figures[state]));
  const { oldestAgeMs, perMinute, failedShare } = figures;
  cells.set(`${name}:oldest`, oldestAgeMs === undefined ? ['–', 0] : [durationText(oldestAgeMs), oldestAgeMs]);
  cells.set(`${name}:per-minute`, [rateText(perMinute), perMinute ?? 0]);
  cells.set(`${name}:failed-share`, [shareText(failedShare), failedShare ?? 0]);
}

function countCell(count: number): Cell {
  return [countText(count), count];
}

/** Runs a minute; below ten with a digit more. */
export function rateText(perMinute: number | undefined): string {
  if (perMinute === undefined) return '–';
  return perMinute > 0 && perMinute < 10 ? perMinute.toFixed(1) : countText(Math.round(perMinute));
}

/** A part of a whole in percent. */
export function shareText(share: number | undefined): string {
  if (share === undefined) return '–';
  return `${share > 0 && share < 0.1 ? (share * 100).toFixed(1) : Math.round(share * 100)} %`;
}

/** FNV-1a: short, the same in all processes, and no secret. */
function hashOf(texts: readonly string[]): string {
  let hash = 0x811c9dc5;
  for (const char of texts.join('\n')) hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 0x01000193) >>> 0;
  return hash.toString(36);
}
