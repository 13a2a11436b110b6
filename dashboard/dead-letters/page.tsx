/**
 * Dead letters of jobs and of streams: looked at, redriven, edited, discarded.
 *
 * A page of the list reads a bounded number of letters; the clusters are counted for all readers together (cluster-board.ts).
 */
import type { Request } from 'express';
import { isMillraceError, type DeadLetterFilter, type DeadLetterPage } from 'millrace';
import { viewOf, type Desk, type Page } from '../desk.ts';
import { listSecrets, type KnownSecrets } from '../jobs/contracts.ts';
import { packageFile } from '../package-files.ts';
import { query } from '../view/input.ts';
import { render } from '../view/render.ts';
import { shownInList } from '../view/secrets.ts';
import { addActions } from './actions.tsx';
import { ClusterBoard } from './cluster-board.ts';
import { Cursors } from './cursors.ts';
import { askedBy, filterOf } from './filter.ts';
import { addLetters } from './letter-routes.tsx';
import { DeadLetterList } from './list.tsx';
import { addOperations } from './operation-routes.tsx';
import { Operations } from './operations.ts';
import { showClusters } from './shown-clusters.ts';
import { addStreamLetters } from './streams/routes.tsx';

const PAGE_SIZE = 50;
/** A filter that finds little is given up after so many letters; the next page goes on from there. */
const MOST_READ = 1_000;
const NOT_KNOWN = { page: undefined, problem: 'This page of the list is not known. Begin with the first.' };

export const deadLettersPage: Page = {
  path: '/dead-letters',
  title: 'Dead letters',
  nav: 'Dead letters',
  needs: 'viewer',
  files: { 'dead-letters.css': packageFile('dashboard/dead-letters/styles.css') },
  routes(router, desk) {
    const { platform, log } = desk;
    const board = new ClusterBoard(() => platform.deadLetters, log);
    const operations = new Operations({ platform, log });
    const cursors = new Cursors(platform);
    router.get('/', async (request, response) => {
      const asked = askedBy((name) => query(request, name));
      const { secrets, secretsOf } = await listSecrets(desk);
      const { filter, faults } = filterOf(asked, secrets);
      const isUnderstood = Object.keys(faults).length === 0;
      const [queues, counted, found] = await Promise.all([
        platform.jobs.queues(),
        board.look(),
        isUnderstood ? pageOf({ desk, cursors }, filter, request, secretsOf) : { page: undefined },
      ]);
      const clusters = showClusters(counted.clusters, asked);
      const isFirst = query(request, 'cursor') === '';
      const parts = { asked, faults, queues: queues.toSorted(), counted, clusters, isFirst, ...found };
      render(response, viewOf(response), {
        title: 'Dead letters',
        active: '/dead-letters',
        styles: ['dead-letters.css'],
        body: <DeadLetterList {...parts} />,
      });
    });
    const changed = (): void => board.forget();
    addActions(router, { desk, operations, changed });
    addLetters(router, { desk, changed });
    addOperations(router, { desk, operations, changed });
    addStreamLetters(router, desk);
    return {
      async stop() {
        await Promise.all([board.stop(), operations.stop()]);
      },
    };
  },
};

/** What was typed into the filter or the address may name what is not there. */
async function pageOf(
  { desk: { platform }, cursors }: { desk: Desk; cursors: Cursors },
  filter: DeadLetterFilter,
  request: Request,
  secretsOf: KnownSecrets['secretsOf'],
): Promise<{ page: DeadLetterPage | undefined; problem?: string }> {
  const asked = query(request, 'cursor');
  const cursor = asked === '' ? undefined : await cursors.find(asked);
  if (asked !== '' && cursor === undefined) return NOT_KNOWN;
  try {
    const page = await platform.deadLetters.list({ ...filter, limit: PAGE_SIZE, mostRead: MOST_READ, cursor });
    const letters = page.letters.map((letter) => shownInList(letter, secretsOf(letter.contract)));
    return { page: { ...page, letters, cursor: page.cursor && (await cursors.shorten(page.cursor)) } };
  } catch (error) {
    if (isMillraceError(error, 'JOB_UNKNOWN')) return { page: undefined, problem: 'There is no such queue.' };
    if (isMillraceError(error, 'OPTIONS_INVALID')) return NOT_KNOWN;
    throw error;
  }
}
