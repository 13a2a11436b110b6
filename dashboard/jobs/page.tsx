/**
 * Jobs: found by id, contract, queue, state, time and text, shown with every attempt, cancelled, run again, enqueued.
 *
 * A search reads a bounded part of the jobs for each page, says how much that was, and goes on where the reader wants it to.
 */
import type { Request, Response, Router } from 'express';
import {
  contractSecrets,
  isMillraceError,
  SEARCHABLE_STATES,
  type CancelStatus,
  type JobFilter,
  type JobPage as FoundPage,
  type RetryStatus,
  type SearchableState,
} from 'millrace';
import { timeOf } from '../dead-letters/filter.ts';
import { letterPath } from '../dead-letters/letter.tsx';
import { viewOf, type Desk, type Page } from '../desk.ts';
import { query } from '../view/input.ts';
import { refusePage } from '../view/refuse.tsx';
import { render } from '../view/render.ts';
import { shownInfo } from '../view/secrets.ts';
import { listContracts } from './contracts.ts';
import { addEnqueue } from './enqueue-routes.tsx';
import { familyOf } from './family.ts';
import { IdFinder } from './find-by-id.ts';
import { JobPage } from './job.tsx';
import { JobSearch, SEARCH_FIELDS, type SearchParts, type Sought } from './search.tsx';

const PAGE_SIZE = 50;
const LONGEST_ID = 200;
/** A reader waits for so long; the worker is told on. */
const CANCEL_DEADLINE = '5s';
const TOO_MANY = 'You have asked for many ids that are not there. Try again in a minute.';

export const jobsPage: Page = {
  path: '/jobs',
  title: 'Jobs',
  nav: 'Jobs',
  needs: 'viewer',
  routes(router, desk) {
    const finder = new IdFinder(desk.platform);
    router.get('/', async (request, response) => {
      const id = query(request, 'id').trim().slice(0, LONGEST_ID);
      const found = id === '' ? 'none' : await finder.find(id, viewOf(response).user.name);
      if (found === 'none') return showSearch(desk, request, response, id);
      if (found === 'too-many') return refusePage(response, 429, TOO_MANY);
      desk.redirect(response, 'job' in found ? jobPath(id) : letterPath(found.letter));
    });
    addEnqueue(router, desk);
    addJob(router, desk, finder);
    return { start: () => tellSecrets(desk) };
  },
};

/** A search masks what Redis knows to be secret; so it is told of what only the embedding app has named. */
async function tellSecrets({ platform, contracts }: Desk): Promise<void> {
  const told = await contractSecrets(platform);
  const untold = contracts.filter(({ name, secrets }) => !secrets.every((path) => told.get(name)?.includes(path)));
  if (untold.length > 0) await platform.jobs.register(untold);
}

function addJob(router: Router, desk: Desk, finder: IdFinder): void {
  const { platform } = desk;

  router.get('/:id', async (request, response) => {
    const { id } = request.params;
    const found = await finder.find(id, viewOf(response).user.name);
    if (found === 'none') return refusePage(response, 404, 'There is no such job. It may have been removed.');
    if (found === 'too-many') return refusePage(response, 429, TOO_MANY);
    if ('letter' in found) return desk.redirect(response, letterPath(found.letter));
    const { job } = found;
    const [contracts, family] = await Promise.all([
      listContracts(desk),
      job.state === 'cancelled' ? { parent: undefined, children: [] } : familyOf(platform, job.queue, id),
    ]);
    const secrets = contracts.secretsOf(job.name);
    const parts = {
      job: shownInfo(job, secrets),
      family,
      hasSecrets: secrets.length > 0,
      contract: contracts.named(job.name, job),
    };
    render(response, viewOf(response), {
      title: `Job ${id}`,
      active: '/jobs',
      styles: ['dead-letters.css'],
      body: <JobPage {...parts} />,
    });
  });

  router.post('/:id/cancel', async (request, response) => {
    const { id } = request.params;
    const reason = `cancelled by ${viewOf(response).user.name} in the dashboard`;
    const { status } = await platform.jobs.cancel(id, { reason, deadline: CANCEL_DEADLINE });
    if (status === 'unknown') return refusePage(response, 404, 'There is no such job.');
    const isDone = status === 'cancelled' || status === 'requested';
    await desk.audit(response, { action: 'jobs.cancel', target: id, count: isDone ? 1 : 0, detail: status });
    desk.redirect(response, jobPath(id), { tone: isDone ? 'good' : 'plain', text: CANCEL_TEXTS[status] });
  });

  router.post('/:id/retry', async (request, response) => {
    const { id } = request.params;
    const { status } = await platform.jobs.retry(id);
    if (status === 'not-found') return refusePage(response, 404, 'There is no such job.');
    const isDone = status === 'retried' || status === 'promoted';
    await desk.audit(response, { action: 'jobs.retry', target: id, count: isDone ? 1 : 0, detail: status });
    desk.redirect(response, jobPath(id), { tone: isDone ? 'good' : 'plain', text: RETRY_TEXTS[status] });
  });
}

const CANCEL_TEXTS: Readonly<Record<CancelStatus, string>> = {
  cancelled: 'It is cancelled: it does not run, and will not.',
  requested: 'Its worker was told, and has not let go yet. It is told again until it does.',
  finished: 'It had ended before.',
  unknown: 'There is no such job.',
};

const RETRY_TEXTS: Readonly<Record<RetryStatus, string>> = {
  retried: 'It waits to run again, with all its attempts.',
  promoted: 'It may run now.',
  'not-found': 'There is no such job.',
  'not-possible': 'It waits already, or runs.',
};

function jobPath(id: string): string {
  return `/jobs/${encodeURIComponent(id)}`;
}

async function showSearch(desk: Desk, request: Request, response: Response, missing: string): Promise<void> {
  const sought = Object.fromEntries(SEARCH_FIELDS.map((name) => [name, query(request, name).trim()])) as Sought;
  const cursor = query(request, 'cursor');
  const [queues, contracts, found] = await Promise.all([
    desk.platform.jobs.queues(),
    listContracts(desk),
    search(desk, sought, cursor || undefined),
  ]);
  const names = [...new Set([...contracts.all.map(({ name }) => name), sought.contract])].filter((name) => name !== '');
  const parts: SearchParts = {
    sought,
    queues: queues.toSorted(),
    contracts: names.toSorted(),
    isFirst: cursor === '',
    missing,
    ...found,
  };
  render(response, viewOf(response), { title: 'Jobs', active: '/jobs', body: <JobSearch {...parts} /> });
}

/** What was typed may name what is not there. */
async function search(
  { platform }: Desk,
  { contract, queue, state, from, to, text }: Sought,
  cursor: string | undefined,
): Promise<{ page: FoundPage | undefined; problem?: string }> {
  const times = { from: timeOf(from), to: timeOf(to) };
  if ((from !== '' && times.from === undefined) || (to !== '' && times.to === undefined))
    return { page: undefined, problem: 'Expected dates with times.' };
  if (state !== '' && !SEARCHABLE_STATES.some((one) => one === state))
    return { page: undefined, problem: 'There is no such state.' };
  const filter: JobFilter = {
    ...times,
    ...(contract !== '' && { names: [contract] }),
    ...(queue !== '' && { queues: [queue] }),
    ...(state !== '' && { states: [state as SearchableState] }),
    ...(text !== '' && { text: text.slice(0, LONGEST_ID) }),
  };
  try {
    return { page: await platform.jobs.search(filter, { limit: PAGE_SIZE, cursor }) };
  } catch (error) {
    if (isMillraceError(error, 'JOB_UNKNOWN')) return { page: undefined, problem: 'There is no such queue.' };
    if (isMillraceError(error, 'OPTIONS_INVALID'))
      return { page: undefined, problem: 'This page of the search is not known. Begin with the first.' };
    throw error;
  }
}
