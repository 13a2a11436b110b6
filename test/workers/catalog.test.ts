/** `catalog.refresh` and `cache.warm`: that a change is seen, that none is lost, and that readers find what is warm. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { handle, type Handler, type Platform } from '../../src/index.ts';
import {
  cacheWarm,
  catalogRefresh,
  createCatalogHandler,
  createWarmHandler,
  declareSchedules,
  defineCatalog,
  stockHandlers,
  type Catalog,
  type CatalogOptions,
} from '../../workers/index.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ends, faultsOf, impatient, letterOf, QUICK, startPlatform } from './scene.ts';

const own = ownedByTest();
let redis: TestServer;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());

/** A database of products with prices, and what was asked of it. */
class Database {
  readonly prices = new Map<string, number>();
  readonly asked: string[][] = [];
  /** Called before an answer that has been read already. */
  onAnswer: (ids: readonly string[]) => Promise<void> = async () => undefined;
  broken: (id: string) => boolean = () => false;

  readonly load = async (ids: readonly string[]): Promise<Array<number | undefined | Error>> => {
    this.asked.push([...ids]);
    const rows = ids.map((id) => (this.broken(id) ? new Error(`no ${id}`) : this.prices.get(id)));
    await this.onAnswer(ids);
    return rows;
  };
}

async function scene(
  options: Partial<CatalogOptions<number>> = {},
): Promise<{ platform: Platform; database: Database; products: Catalog<number> }> {
  const platform = await startPlatform(own, redis.url);
  const database = new Database();
  const list = (): Iterable<string> => database.prices.keys();
  return {
    platform,
    database,
    products: defineCatalog({ name: 'products', load: database.load, list, ...options }),
  };
}

function handlersOf(products: Catalog<number>, pageSize = 100): Handler[] {
  const options = { catalogs: [products], pageSize };
  return [createCatalogHandler(options), createWarmHandler(options)].map(impatient);
}

describe('catalog.refresh', () => {
  test('makes a change seen at once, with what is made of the item, and loads it anew', async () => {
    const { platform, database, products } = await scene();
    database.prices.set('lamp', 100).set('desk', 500);
    const reader = products.reader(platform.cache);
    const page = (): Promise<string> =>
      reader.cache.getOrSet('home', async () => `lamp ${await reader.get('lamp')}`, {
        ttl: '1h',
        tags: [products.tag('lamp')],
      });
    expect([await page(), await reader.get('desk')]).toEqual(['lamp 100', 500]);
    await platform.work({ ...QUICK, handlers: handlersOf(products) });
    database.prices.set('lamp', 90);
    const { id } = await platform.jobs.enqueue(catalogRefresh, { catalog: 'products', ids: ['lamp', 'sofa'] });
    await eventually(async () => expect([await page(), await reader.get('lamp')]).toEqual(['lamp 90', 90]));
    const { result, attemptsMade } = await ends(platform, id, 'completed');
    expect([result, attemptsMade]).toEqual([{ loaded: 1, missing: 1 }, 1]);
    // What has not changed was not asked for again, and a reader finds the new one there.
    const before = database.asked.length;
    expect([await reader.getMany(['lamp', 'sofa']), await reader.get('desk')]).toEqual([[90, null], 500]);
    expect(database.asked.slice(before)).toEqual([]);
    expect(database.asked.flat().filter((one) => one === 'desk')).toHaveLength(1);
  });

  test('is few jobs for hundreds of changes, and the last one is seen, also one that comes while the item is loaded', async () => {
    const { platform, database, products } = await scene();
    const reader = products.reader(platform.cache);
    await platform.work({ ...QUICK, handlers: handlersOf(products) });
    const change = async (price: number): Promise<string> => {
      database.prices.set('lamp', price);
      return (await platform.jobs.enqueue(catalogRefresh, { catalog: 'products', ids: ['lamp'] })).status;
    };
    let late: Promise<string> | undefined;
    database.onAnswer = async () => {
      late ??= change(2_000); // Behind the look at the row, before what was seen is kept.
      await late;
    };
    const statuses = await Promise.all(Array.from({ length: 300 }, (_, index) => change(index)));
    const added = statuses.filter((status) => status === 'added').length;
    expect(added).toBeLessThan(20);
    await eventually(async () => {
      expect(await late).toBe('added');
      expect((await platform.jobs.counts('catalog')).completed).toBe(added + 1);
      expect(await reader.get('lamp')).toBe(2_000);
    });
    expect(database.asked.length).toBeLessThan(25);
  });

  test('waits by the clock of Redis: a machine whose clock is ahead, and that has it back at once, loses no change', async () => {
    const { platform, database, products } = await scene();
    database.prices.set('lamp', 1);
    let late: Promise<{ status: string }> | undefined;
    database.onAnswer = async () => {
      database.prices.set('lamp', 2); // Behind the look at the row, before what was seen is kept.
      late ??= platform.jobs.enqueue(catalogRefresh, { catalog: 'products', ids: ['lamp'] });
      await late;
    };
    await platform.work({ ...QUICK, handlers: handlersOf(products) });
    const { queue } = platform.jobs.bullmq('catalog');
    const { id } = await platform.jobs.enqueue(catalogRefresh, { catalog: 'products', ids: ['lamp'] });
    while (database.asked.length === 0) {
      const job = await queue.getJob(id);
      if ((await job?.getState()) === 'delayed') await job?.promote().catch(() => undefined); // It came due by itself.
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await ends(platform, id, 'completed');
    expect(await late).toMatchObject({ status: 'added' });
    await eventually(async () => expect(await products.reader(platform.cache).get('lamp')).toBe(2));
  });

  test('of all rebuilds in pages, and an attempt that follows a failure goes on', async () => {
    const { platform, database, products } = await scene({ negativeTtl: '1h' });
    for (let index = 0; index < 50; index++) database.prices.set(`p${index}`, index);
    const reader = products.reader(platform.cache);
    await reader.getMany([...database.prices.keys()]);
    for (const id of database.prices.keys()) database.prices.set(id, 7);
    database.prices.delete('p3');
    let failures = 1;
    database.broken = (id) => id === 'p49' && failures-- > 0;
    await platform.work({ ...QUICK, handlers: handlersOf(products, 10) });
    const before = database.asked.length;
    const { id } = await platform.jobs.enqueue(catalogRefresh, { catalog: 'products' });
    const { result, attemptsMade } = await ends(platform, id, 'completed');
    expect([result, attemptsMade]).toEqual([{ loaded: 49, missing: 0 }, 2]);
    expect(await reader.getMany(['p0', 'p3', 'p49'])).toEqual([7, null, 7]);
    expect(Math.max(...database.asked.slice(before).map((ids) => ids.length))).toBeLessThanOrEqual(10);
    // Pages that were there were not loaded again.
    expect(database.asked.flat().filter((one) => one === 'p0')).toHaveLength(2);
  });

  test('that no catalogue is meant by is a dead letter, and nonsense is refused when it is enqueued', async () => {
    const { platform, products } = await scene();
    await platform.work({ ...QUICK, handlers: handlersOf(products) });
    const { id } = await platform.jobs.enqueue(catalogRefresh, { catalog: 'prices' });
    expect((await letterOf(platform, id)).error.message).toBe(
      'there is no catalogue named prices; this worker has: products',
    );
    expect(await faultsOf(catalogRefresh, { catalog: 'products', ids: [] })).toEqual(['ids']);
    expect(() => defineCatalog({ name: 'a b', load: () => [] })).toThrow(/defineCatalog: name: expected letters/);
    expect(() => createWarmHandler({ catalogs: [products, products] })).toThrow(/catalogs: expected each name once/);
  });
});

describe('cache.warm', () => {
  test('loads what is missing or past its time, tells how many, and passes over what cannot be loaded', async () => {
    const { platform, database, products } = await scene({
      ttl: '30m',
      grace: '1h',
      hot: () => ['a', 'b', 'c', 'd', 'bad'],
    });
    for (const id of ['a', 'b', 'c', 'd', 'e']) database.prices.set(id, 1);
    const reader = products.reader(platform.cache);
    await reader.get('a');
    // Past its time, and within its grace.
    const old = defineCatalog({ name: 'products', load: database.load, ttl: 1, grace: '1h' }).reader(platform.cache);
    await old.get('b');
    database.prices.set('b', 2);
    database.broken = (id) => id === 'bad';
    await platform.work({ ...QUICK, handlers: handlersOf(products, 2) });
    const result = await platform.jobs.enqueueAndWait(cacheWarm, {});
    expect(result).toEqual({ checked: 5, warmed: 3, failed: 1 });
    const before = database.asked.length;
    const other = await startPlatform(own, redis.url, { prefix: platform.prefix });
    expect(await products.reader(other.cache).getMany(['a', 'b', 'c', 'd'])).toEqual([1, 2, 1, 1]);
    expect(database.asked.slice(before)).toEqual([]);
    expect(await platform.jobs.enqueueAndWait(cacheWarm, { catalog: 'products' })).toMatchObject({ warmed: 0 });
  });

  test('of all goes on with the next catalogue behind one of which something cannot be loaded', async () => {
    const { platform, database, products } = await scene({ hot: () => ['a', 'bad'] });
    database.prices.set('a', 1).set('b', 2);
    database.broken = (id) => id === 'bad';
    const others = defineCatalog({ name: 'others', load: database.load, hot: () => ['b'] });
    await platform.work({ ...QUICK, handlers: [createWarmHandler({ catalogs: [products, others] })] });
    const result = await platform.jobs.enqueueAndWait(cacheWarm, {});
    expect(result).toEqual({ checked: 3, warmed: 2, failed: 1 });
  });

  test('fails when nothing can be loaded, and when its source hangs it ends with its attempt', async () => {
    const broken = await scene({ hot: () => ['a', 'b'] });
    broken.database.broken = () => true;
    const hanging = await scene({
      hot: () => ({ [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => undefined) }) }),
    });
    const [all, none] = await Promise.all(
      [broken, hanging].map(async ({ platform, products }) => {
        const [, warm] = handlersOf(products);
        const timeoutMs = platform === hanging.platform ? 200 : 60_000;
        await platform.work({
          ...QUICK,
          handlers: [handle({ ...(warm as Handler).contract, timeoutMs }, (warm as Handler).run)],
        });
        const { id } = await platform.jobs.enqueue(cacheWarm, {});
        return (await letterOf(platform, id)).error.message;
      }),
    );
    expect(all).toBe('no a');
    expect(none).toMatch(/longer than 200 ms|timed out|timeout/i);
  });

  test('is declared by a schedule that workers with other settings leave alone', async () => {
    const { platform, products } = await scene();
    const stock = stockHandlers({ catalog: { catalogs: [products], warmEvery: '2m' } });
    expect(stock.summary).toContain('cache.warm: runs');
    await declareSchedules(platform, stock.schedules);
    await declareSchedules(platform, stockHandlers({}).schedules);
    await platform.schedules.reconcile([]); // A worker of the application.
    expect(await platform.schedules.list()).toMatchObject([{ id: 'cache.warm' }]);
    expect(stockHandlers({ catalog: { catalogs: [products], warmEvery: false } }).schedules).toEqual([]);
  });
});
