/**
 * What a hit costs at either level, and what a cold key costs that everybody wants: ours against the client's GET and JSON.parse, and
 * against bentocache. support/cache-sides.ts says what each side does.
 */
import { clientOn } from './support/clients.ts';
import { bentoOn, itemOf, oursOn, rawOn, type CacheSetup, type CacheSide, type Item } from './support/cache-sides.ts';
import { readsDuring } from './support/counters.ts';
import { callsPerSecond, type Case, type Side } from './support/measure.ts';
import { benchBinary, pinned, startBenchServer } from './support/server.ts';
import { Stampede, type StampedeSide } from './support/stampede.ts';

const HOT = keysOf('hot', 1_000);
const WARM = keysOf('warm', 10_000);
const TAGGED = keysOf('tagged', 1_000);
const TAGS = ['catalogue', 'shop-7', 'lamps'];
/** Few, so that what clients ask now and then by themselves falls into few of the rounds. */
const COUNTED = 100;

/** The cases, and what must be closed after them. */
export async function prepare(): Promise<{ cases: Case[]; close: () => Promise<void> }> {
  const server = await startBenchServer(pinned(await benchBinary()));
  const admin = clientOn(server.url);
  const opened: Array<() => Promise<void>> = [];
  const kept = <Opened extends { close(): Promise<void> }>(side: Opened): Opened => {
    opened.push(() => side.close());
    return side;
  };
  const pair = async (setup: CacheSetup): Promise<{ ours: CacheSide; bento: CacheSide | undefined }> => {
    const bento = await bentoOn(server.url, setup);
    return { ours: kept(await oursOn(server.url, setup)), bento: bento && kept(bento) };
  };
  const hot = await pair({ firstLevel: true });
  const tagged = await pair({ firstLevel: false, tags: TAGS });
  const warm = { ours: kept(await oursOn(server.url, { firstLevel: false })), raw: kept(rawOn(server.url)) };

  const trips = async (get: () => Promise<Item>): Promise<number> =>
    (await readsDuring(admin, () => callsPerSecond(COUNTED, 1, get))) / COUNTED;
  /** Each round is a cold key. */
  const stampede = (kind: StampedeSide): Side => {
    let started: Promise<Stampede> | undefined;
    let round = 0;
    return async () => {
      started ??= Stampede.start(kind, server.url).then((one) => {
        opened.push(() => one.stop());
        return one;
      });
      return (await started).loadsOf(`cold-${round++}`);
    };
  };
  const hits = { unit: 'hits/s', rounds: { quick: 21, full: 101 } };
  return {
    cases: [
      {
        name: 'l1-hit',
        unit: 'µs',
        lessIsBetter: true,
        theirsIs: 'awaited getOrSet() of bentocache; the limit is 0.5 µs',
        rounds: { quick: 21, full: 101 },
        ours: filled(hot.ours, HOT, async (get) => 1e6 / (await callsPerSecond(100_000, 1, get))),
        theirs: hot.bento && filled(hot.bento, HOT, async (get) => 1e6 / (await callsPerSecond(5_000, 1, get))),
      },
      {
        ...hits,
        name: 'l2-hit',
        theirsIs: 'awaited GET and JSON.parse',
        ours: filled(warm.ours, WARM, (get) => callsPerSecond(500, 1, get)),
        theirs: filled(warm.raw, WARM, (get) => callsPerSecond(500, 1, get)),
      },
      {
        ...hits,
        name: 'l2-in-flight',
        theirsIs: 'GET and JSON.parse, 100 in flight',
        ours: filled(warm.ours, WARM, (get) => callsPerSecond(5_000, 100, get)),
        theirs: filled(warm.raw, WARM, (get) => callsPerSecond(5_000, 100, get)),
      },
      {
        name: 'l2-tagged-trips',
        unit: 'round trips/hit',
        lessIsBetter: true,
        theirsIs: 'bentocache, a value with three tags, too; the limit is 1',
        rounds: { quick: 5, full: 15 },
        ours: filled(tagged.ours, TAGGED, trips),
        theirs: tagged.bento && filled(tagged.bento, TAGGED, trips),
      },
      {
        name: 'stampede-loads',
        unit: 'loads',
        lessIsBetter: true,
        theirsIs: 'bentocache, two processes with 1,000 callers each, too; the limit is 1',
        rounds: { quick: 3, full: 11 },
        ours: stampede('ours'),
        theirs: hot.bento && stampede('bento'),
      },
    ],
    async close() {
      for (const close of opened.toReversed()) await close();
      admin.disconnect();
      await server.stop();
    },
  };
}

/** Rounds on keys that are all there: the first round fills them, and a load in any is a fault. */
function filled(
  side: CacheSide,
  keys: readonly string[],
  measured: (get: () => Promise<Item>) => Promise<number>,
): Side {
  let filling: Promise<unknown> | undefined;
  let next = 0;
  const keyAfter = (): string => keys[next++ % keys.length] ?? '';
  const fill = async (): Promise<Item> => {
    const key = keyAfter();
    return side.getOrSet(key, async () => itemOf(key));
  };
  const get = (): Promise<Item> => side.getOrSet(keyAfter(), mustNotLoad);
  return async () => {
    await (filling ??= callsPerSecond(keys.length, 100, fill));
    const figure = await measured(get);
    const key = keyAfter();
    if ((await side.getOrSet(key, mustNotLoad)).id !== key) throw new Error(`${key}: the value of another key`);
    return figure;
  };
}

async function mustNotLoad(): Promise<never> {
  throw new Error('a key that is there was loaded');
}

function keysOf(kind: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${kind}:${10_000 + index}`);
}
