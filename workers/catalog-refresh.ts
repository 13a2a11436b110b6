/**
 * `catalog.refresh`: makes a change of a catalogue seen.
 *
 * Promise: once the job has begun, no reader is given what was cached before the change, and no load that began before it brings that back; half a
 * second later the items are loaded anew, so that readers seldom wait. Requests for the same within that time are one job. None is lost: the key of
 * the job has ended, by the clock of Redis, before its load begins, so a change that comes later makes another job; clocks of machines may differ.
 * A retry drops nothing again and goes on with what is not loaded yet.
 * Redis down: the attempt fails and comes again.
 */
import { handle, postpone, type Handler, type JobContext, type LimiterOptions } from 'millrace';
import { readerOf, tagOf, type CheckedCatalog } from './catalog/catalog.ts';
import {
  catalogRefresh,
  GATHERED_FOR_MS,
  type CatalogRefreshResult,
  type ParsedCatalogRefresh,
} from './catalog/contract.ts';
import {
  catalogNamed,
  checkCatalogs,
  IN_A_WORKER,
  type CatalogsOptions,
  type CheckedCatalogs,
} from './catalog/options.ts';
import { forEachOf, pagesOf, untilAborted } from './pages.ts';

/** Its blocks alone are used: one that begins when the job runs ends behind the job's key, by the same clock. While Redis does not answer, it refuses. */
const GATHERING: LimiterOptions = {
  policies: [{ name: 'gathering', limit: 1, per: GATHERED_FOR_MS }],
  onError: 'deny',
  deadline: '5s',
};

/**
 * The handler of `catalog.refresh`.
 *
 * @example
 * await platform.work({ handlers: [createCatalogHandler({ catalogs: [products] })] });
 * @throws MillraceError OPTIONS_INVALID
 */
export function createCatalogHandler(options: CatalogsOptions): Handler {
  const checked = checkCatalogs(options, 'createCatalogHandler');
  return handle(catalogRefresh, (input, context) => refresh(input, context, checked));
}

async function refresh(
  { catalog: name, ids }: ParsedCatalogRefresh,
  context: JobContext,
  options: CheckedCatalogs,
): Promise<CatalogRefreshResult> {
  const { cache, job, limits, log, once, progress, signal } = context;
  const catalog = catalogNamed(options, name);
  const drop = (): Promise<void> => invalidate(catalog, context, ids);
  const gathering = limits.limiter(catalogRefresh.name, GATHERING);
  await once('seen', async () => {
    await drop();
    await gathering.block(job.id, GATHERED_FOR_MS);
  });
  await once('gathered', async () => {
    const { allowed, retryAfterMs } = await gathering.peek(job.id);
    if (!allowed) throw postpone(retryAfterMs, 'gathers further changes');
    await drop();
  });
  let [loaded, missing] = [0, 0];
  const reader = readerOf(catalog, cache, { ...IN_A_WORKER, maxKeys: options.pageSize });
  const pages = pagesOf(untilAborted(ids ?? catalog.list?.({ signal }) ?? [], signal), options.pageSize);
  await forEachOf(pages, options.concurrency, async (page) => {
    const items = await reader.getMany(page);
    const found = items.filter((item) => item !== null && item !== undefined).length;
    loaded += found;
    missing += page.length - found;
    progress({ loaded, missing });
  });
  log.info({ catalog: name, loaded, missing }, 'catalogue refreshed');
  return { loaded, missing };
}

async function invalidate(
  catalog: CheckedCatalog,
  { cache }: JobContext,
  ids: readonly string[] | undefined,
): Promise<void> {
  const { cache: own } = readerOf(catalog, cache, IN_A_WORKER);
  if (ids === undefined) return own.clear();
  await own.delete(...ids);
  await own.invalidateTags(...ids.map(tagOf));
}
