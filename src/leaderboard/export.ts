/**
 * All entries of a board, in batches, while others write.
 *
 * Where a batch ended is told by score and member, not by place: places shift with every write.
 */
import { MARK_LENGTH, type BoardStore, type Place } from './board-store.ts';
import { readAfterScript } from './scripts.ts';
import { fromStored } from './scores.ts';

/** An entry, without its rank: the entries of an export are not of one moment. */
export interface Exported<Meta = never> {
  readonly member: string;
  readonly score: number;
  readonly meta?: Meta | undefined;
}

/** Options of an export. */
export interface ExportOptions {
  /** How many are read at a time. Default and most: 1,000. */
  batch?: number | undefined;
  /** Ends it before the next batch. */
  signal?: AbortSignal | undefined;
}

/** @param locate is asked once: an export stays with the period in which it began. */
export async function* exportFrom<Meta>(
  store: BoardStore,
  locate: () => Promise<Place>,
  { batch, signal }: { batch: number; signal: AbortSignal | undefined },
): AsyncGenerator<Exported<Meta>, void> {
  const { rule } = store;
  const tells = rule.meta !== undefined;
  signal?.throwIfAborted();
  const place = await locate();
  const { ranks, isTimed } = place;
  const metadata = tells ? place.metadata : [];
  let score = '';
  let stored = '';
  for (;;) {
    signal?.throwIfAborted();
    await place.prepare?.();
    const args = { timed: isTimed ? '1' : '0', score, stored, count: batch };
    const read = await store.run((client) => readAfterScript(client, { ranks, metadata }, args));
    const { list } = read;
    for (let at = 0; at < list.length; at += 2) {
      [stored = '', score = ''] = list.slice(at, at + 2);
      const entry = { member: isTimed ? stored.slice(MARK_LENGTH) : stored, score: fromStored(score, rule.order) };
      const meta = read.metadata[at / 2];
      yield tells ? { ...entry, meta: meta ? (JSON.parse(meta) as Meta) : undefined } : entry;
    }
    if (list.length < 2 * batch) return;
  }
}
