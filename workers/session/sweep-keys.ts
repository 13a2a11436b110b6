/**
 * What is left of sessions in the layout `keys`, found by SCAN on each master and mended a step at a time.
 *
 * No script is needed: an entry of an index ends with its session, by the same time of the server; and a session that stands in no index never
 * comes to stand in one again, because only its beginning puts it there, together with the session.
 */
import { MillraceError, withDeadline, type Connections, type RedisClient } from 'millrace';
import type { SweepResult } from './contract.ts';

/** Keys that a step looks at; it takes a server some 100 µs. */
const STEP = 500;
const DEADLINE_MS = 10_000;

/** What a sweep has found. */
export type SweepCounts = Pick<SweepResult, 'scanned' | 'indexes' | 'forgotten' | 'orphans'>;

interface Place {
  readonly name: string;
  scan(cursor: string, ...args: ['MATCH', string, 'COUNT', number]): Promise<[string, string[]]>;
}

/** Looks at so many keys from the cursor on. @returns the cursor for the next run; undefined at the end */
export async function sweepKeys(
  { redis, prefix }: { redis: Pick<Connections, 'commands' | 'label'>; prefix: string },
  {
    cursor,
    most,
    signal,
    onStep,
  }: { cursor: string | undefined; most: number; signal: AbortSignal; onStep: (counts: SweepCounts) => void },
): Promise<{ counts: SweepCounts; next: string | undefined }> {
  const client = redis.commands();
  const ask = <T>(answer: Promise<T>): Promise<T> =>
    withDeadline(
      answer,
      DEADLINE_MS,
      () => new MillraceError('REDIS_TIMEOUT', `${redis.label} did not answer in 10 s`, {}),
    );
  await ask(client.ping()); // A Cluster knows its nodes only once it is connected.
  const places = placesOf(client);
  const [node, begin = '0'] =
    cursor === undefined ? [] : [cursor.slice(0, cursor.lastIndexOf('/')), cursor.slice(cursor.lastIndexOf('/') + 1)];
  const known = places.findIndex(({ name }) => name === node);
  let at = Math.max(0, known);
  let place = known === -1 ? '0' : begin; // Of a node that has gone the others are looked at anew.
  const counts = { scanned: 0, indexes: 0, forgotten: 0, orphans: 0 };
  while (at < places.length && counts.scanned < most) {
    signal.throwIfAborted();
    const one = places[at] as Place;
    const [next, keys] = await ask(one.scan(place, 'MATCH', `${prefix}:session:{*}:*:ids*`, 'COUNT', STEP));
    counts.scanned += STEP;
    await ask(mend(client, prefix, keys, counts));
    onStep({ ...counts });
    place = next;
    if (place === '0') at++;
  }
  const last = places[at];
  return { counts, next: last && `${last.name}/${place}` };
}

async function mend(client: RedisClient, prefix: string, keys: readonly string[], counts: SweepCounts): Promise<void> {
  const form = /^\{[\w-]{22}\}:[\w.-]{1,64}:ids(?::([\w-]{22}))?$/;
  const head = `${prefix}:session:`;
  const found = keys
    .map((key) => ({ key, parts: form.exec(key.slice(head.length)) }))
    .filter(({ parts }) => parts !== null);
  if (found.length === 0) return;
  const [seconds = '0', micros = '0'] = (await client.time()).map(String);
  const now = Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  const tally = await Promise.all(
    found.map(async ({ key, parts }) => {
      const id = parts?.[1];
      if (id === undefined)
        return { indexes: 1, forgotten: await client.zremrangebyscore(key, '-inf', now), orphans: 0 };
      const index = key.slice(0, -id.length - 1);
      const isKnown = (await client.zscore(index, id)) !== null;
      return { indexes: 0, forgotten: 0, orphans: isKnown ? 0 : await client.unlink(key) };
    }),
  );
  for (const one of tally) for (const what of ['indexes', 'forgotten', 'orphans'] as const) counts[what] += one[what];
}

/** Every server that has some of the keys, in the same order each time. */
function placesOf(client: RedisClient): Place[] {
  if (!('nodes' in client)) return [{ name: '', scan: (...call) => client.scan(...call) }];
  const masters = client.nodes('master').map((node) => ({
    name: `${node.options.host}:${node.options.port}`,
    scan: (...call: Parameters<Place['scan']>) => node.scan(...call),
  }));
  return masters.toSorted((one, other) => (one.name < other.name ? -1 : 1));
}
