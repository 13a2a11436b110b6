/**
 * `cache.warm`: loads what a catalogue should have in the cache and has not, or has past its time.
 *
 * Promise: with a grace that is longer than the time between two runs, no reader of an id that is kept warm waits for a load; the oldest thing
 * that he is given is older than `ttl` by that time. What is invalidated while it is loaded is not kept. An id that cannot be loaded is counted and
 * passed over; the job fails if none can.
 * Redis down: it loads and keeps nothing; the next run does.
 */
import { handle, schedule, unrecoverable, type Handler, type JobContext, type Schedule } from 'millrace';
import { readerOf, type CheckedCatalog, type ListIds } from './catalog/catalog.ts';
import { cacheWarm, type CacheWarmResult } from './catalog/contract.ts';
import {
  catalogNamed,
  checkCatalogs,
  IN_A_WORKER,
  type CatalogsOptions,
  type CheckedCatalogs,
} from './catalog/options.ts';
import { forEachOf, pagesOf, untilAborted } from './pages.ts';

/**
 * The handler of `cache.warm`.
 *
 * @example
 * await platform.work({ handlers: [createWarmHandler({ catalogs: [products] })] });
 * @throws MillraceError OPTIONS_INVALID
 */
export function createWarmHandler(options: CatalogsOptions): Handler {
  const checked = checkCatalogs(options, 'createWarmHandler');
  return handle(cacheWarm, async ({ catalog: name }, context) => {
    const chosen = name === undefined ? [...checked.catalogs.values()] : [catalogNamed(checked, name)];
    const sources = chosen.flatMap((catalog) => {
      const list = catalog.hot ?? catalog.list;
      return list ? [{ catalog, list }] : [];
    });
    if (name !== undefined && sources.length === 0)
      throw unrecoverable(`catalogue ${name} has neither \`hot\` nor \`list\`, which say what is to be warm`);
    const total: CacheWarmResult = { checked: 0, warmed: 0, failed: 0 };
    let firstFailure: unknown;
    for (const { catalog, list } of sources) {
      const failure = await warm(catalog, list, { context, options: checked, total });
      firstFailure ??= failure;
    }
    const { log } = context;
    if (total.failed > 0 && total.failed === total.checked) throw firstFailure;
    if (total.failed > 0)
      log.warn({ ...total, err: firstFailure }, 'the cache is warm but for what could not be loaded');
    else log.info({ ...total }, 'the cache is warm');
    return total;
  });
}

/** When the stock worker runs it; none where `warmEvery` is false. */
export function warmSchedules(options: CatalogsOptions): Schedule[] {
  const { warmEveryMs } = checkCatalogs(options, 'warmSchedules');
  return warmEveryMs === undefined ? [] : [schedule(cacheWarm, {}, { every: warmEveryMs, missed: 'skip' }) as Schedule];
}

interface Warming {
  readonly context: JobContext;
  readonly options: CheckedCatalogs;
  /** Of all catalogues of the job. */
  readonly total: CacheWarmResult;
}

/** @returns the first failure of a load */
async function warm(catalog: CheckedCatalog, list: ListIds, { context, options, total }: Warming): Promise<unknown> {
  const { cache, progress, signal } = context;
  let firstFailure: unknown;
  const asked = new Set<string>();
  const reader = readerOf(catalog, cache, {
    ...IN_A_WORKER,
    maxKeys: options.pageSize,
    load: (ids, loading) => {
      for (const id of ids) asked.add(id);
      return catalog.load(ids, loading);
    },
  });
  const pages = pagesOf(untilAborted(list({ signal }), signal), options.pageSize);
  await forEachOf(pages, options.concurrency, async (page) => {
    // One that fails leaves the others of its page alone.
    const outcomes = await Promise.allSettled(page.map((id) => reader.get(id)));
    for (const [index, outcome] of outcomes.entries()) {
      const isLoaded = asked.delete(page[index] ?? '');
      total.checked++;
      if (outcome.status === 'rejected') {
        firstFailure ??= outcome.reason;
        total.failed++;
      } else if (isLoaded) total.warmed++;
    }
    progress({ ...total });
  });
  return firstFailure;
}
