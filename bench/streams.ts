/**
 * What a consumer costs beside the loops that one writes by hand, and a producer beside the bare client. Entries are 200 bytes of JSON, which
 * every side parses; support/stream-sides.ts says what each side does.
 */
import { clientOn } from './support/clients.ts';
import { callsPerSecond, type Case, type Side } from './support/measure.ts';
import { benchBinary, pinned, startBenchServer } from './support/server.ts';
import {
  batchedOn,
  entryOf,
  fill,
  memoryOver,
  oursOn,
  plainOn,
  publisherOn,
  type ConsumingSide,
} from './support/stream-sides.ts';

/** Entries of a round. */
const MANY = 50_000;
const FEW = 3_000;
const MILLION = 1_000_000;
const PUBLISHED = 20_000;
const IN_FLIGHT = 100;

/** The cases, and what must be closed after them. */
export async function prepare(): Promise<{ cases: Case[]; close: () => Promise<void> }> {
  const server = await startBenchServer(pinned(await benchBinary()));
  const admin = clientOn(server.url);
  const opened: Array<() => Promise<void>> = [];
  /** Each round has a stream of its own, which is filled before the clock runs. */
  const rounds = (count: number, start: (url: string) => ConsumingSide): Side => {
    const side = start(server.url);
    opened.push(() => side.close());
    let round = 0;
    return async () => {
      const key = side.keyOf(round++);
      await fill(admin, key, count);
      const ms = await side.consume(round - 1, count);
      await admin.unlink(key);
      return (count / ms) * 1_000;
    };
  };
  const publisher = publisherOn(server.url);
  const bare = clientOn(server.url);
  opened.push(
    () => publisher.close(),
    async () => bare.disconnect(),
  );
  /** Each round fills a stream, which then goes. */
  const publishing = (key: string, publish: (n: number) => Promise<unknown>): Side => {
    return async () => {
      let n = 0;
      const perSecond = await callsPerSecond(PUBLISHED, IN_FLIGHT, () => publish(n++));
      await admin.unlink(key);
      return perSecond;
    };
  };
  return {
    cases: [
      {
        name: 'publish-in-flight',
        unit: 'entries/s',
        theirsIs: 'XADD of the bare client, 100 in flight; the limit is 0.9',
        rounds: { quick: 11, full: 61 },
        ours: publishing(publisher.key, (n) => publisher.publish(n)),
        theirs: publishing('bare', (n) => bare.xadd('bare', '*', 'data', JSON.stringify(entryOf(n)))),
      },
      {
        name: 'consume-vs-plain',
        unit: 'entries/s',
        theirsIs: 'the loop of tutorials: COUNT 10, one awaited XACK an entry; the limit is 20',
        rounds: { quick: 5, full: 15 },
        ours: rounds(MANY, (url) => oursOn(url, 'plain')),
        theirs: rounds(FEW, plainOn),
      },
      {
        name: 'consume-vs-batched',
        unit: 'entries/s',
        theirsIs: 'COUNT 500, the next read sent before a batch is worked on, XACK not awaited; the limit is 0.85',
        rounds: { quick: 11, full: 41 },
        ours: rounds(MANY, (url) => oursOn(url, 'batched')),
        theirs: rounds(MANY, batchedOn),
      },
      {
        name: 'consume-async-vs-batched',
        unit: 'entries/s',
        theirsIs: 'the same loop; ours has an async handler',
        rounds: { quick: 7, full: 21 },
        ours: rounds(MANY, (url) => oursOn(url, 'async', async () => undefined)),
        theirs: rounds(MANY, batchedOn),
      },
      {
        name: 'consume-memory',
        unit: 'MB more after a million entries',
        lessIsBetter: true,
        theirsIs: 'after the first 100,000 of them',
        rounds: { quick: 1, full: 1 },
        ours: () => memoryOver(server.url, admin, MILLION),
        theirs: undefined,
      },
    ],
    async close() {
      for (const close of opened.toReversed()) await close();
      admin.disconnect();
      await server.stop();
    },
  };
}
