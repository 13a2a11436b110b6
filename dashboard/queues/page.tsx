/**
 * The queues: Bull Board, behind our sign-in and dressed as our own pages.
 *
 * Its files are served as they are; its page, its endpoints and what it knows of queues are ours (see the files beside this one).
 */
import express, { type Request, type Response } from 'express';
import { renderToString } from 'preact-render-to-string';
import { contentSecurityPolicy } from '../access/headers.ts';
import { viewOf, type Page, type View } from '../desk.ts';
import { packageFile } from '../package-files.ts';
import { query } from '../view/input.ts';
import { render } from '../view/render.ts';
import { answering } from './answer.ts';
import { barHtml, waitingHtml } from './bar.tsx';
import { createBoard, eachRoute } from './board-server.ts';
import { FindQueue } from './find-page.tsx';
import { historyProvider } from './history-provider.ts';
import { readIndexPage } from './index-page.ts';
import { KnownQueues } from './known-queues.ts';
import { boardName, readName } from './names.ts';
import { Memo } from '../memo.ts';
import { keepToken } from './token-cookie.ts';
import { UI_CONFIG, uiConfigOf } from './ui-config.ts';

/** Bull Board writes styles into the page, and its page has a base. */
const POLICY = contentSecurityPolicy({ 'style-src': "'self' 'unsafe-inline'", 'base-uri': "'self'" });
const YEAR_S = 31_536_000;
/** Each has up to 50 jobs. */
const MOST_PAGES = 20;

export const queuesPage: Page = {
  path: '/queues',
  title: 'Queues',
  nav: 'Queues',
  needs: 'viewer',
  // endpoints.ts says of each what it takes.
  acts: 'viewer',
  files: { 'queues.css': packageFile('dashboard/queues/styles.css') },
  routes(router, desk) {
    const memo = new Memo();
    const pages = new Memo(MOST_PAGES);
    const board = createBoard(historyProvider(desk.platform, memo), UI_CONFIG, false);
    const known = new KnownQueues(desk, memo, board.queues);
    const indexPage = readIndexPage(board.viewsPath);
    const { entry } = board;

    // Names of these files change with what is in them.
    router.use('/static', (_request, response, next) => {
      response.set('Cache-Control', `private, max-age=${YEAR_S}, immutable`);
      next();
    });
    router.use('/static', express.static(board.staticPath, { index: false, redirect: false, cacheControl: false }));
    router.get('/find', async (request, response) => {
      await known.refresh();
      const text = query(request, 'text').trim();
      const body = <FindQueue names={known.names} text={text} />;
      render(response, viewOf(response), { title: 'Find a queue', active: '/queues', body });
    });
    if (entry) {
      const show = async (request: Request, response: Response): Promise<void> => {
        const view = viewOf(response);
        // Its links are relative to a folder.
        if (request.path === '/' && !pathOf(request.originalUrl).endsWith('/'))
          return response.redirect(303, view.path('/queues/'));
        const queue = queueOf(request);
        await known.refresh(queue);
        const named = queue === undefined ? queue : boardName(readName(queue));
        if (queue !== undefined && named !== queue)
          return response.redirect(303, view.path(linkTo(request, named ?? '')));
        const total = known.names.length;
        const uiConfig = { ...board.uiConfig, ...uiConfigOf(total) };
        const { params } = entry.handler({ basePath: view.path('/queues/'), uiConfig });
        keepToken(response, view);
        response.set('Content-Security-Policy', POLICY).type('html');
        const places = { ...(params as Parameters<typeof indexPage>[0]), title: 'Queues · Millrace' };
        const parts = { head: headOf(view), bar: barHtml(view, total), waiting: waitingHtml(view, named) };
        response.send(indexPage(places, parts));
      };
      for (const [, path] of eachRoute(entry)) router.get(path, show);
    }
    for (const route of board.routes) {
      for (const [method, path] of eachRoute(route)) {
        router[method as 'get' | 'post' | 'put' | 'patch'](
          path,
          answering({ desk, board, known, memo, pages }, route, method, path),
        );
      }
    }
  },
};

function pathOf(url: string): string {
  return url.split('?', 1)[0] ?? '';
}

/** The address of the same page under another name of its queue. */
function linkTo({ params, originalUrl }: Request, queue: string): string {
  const job = params['jobId'];
  const rest = originalUrl.slice(pathOf(originalUrl).length);
  return (
    ['/queues/queue', queue, ...(typeof job === 'string' ? [job] : [])]
      .map((part, at) => (at === 0 ? part : encodeURIComponent(part)))
      .join('/') + rest
  );
}

function queueOf({ params }: Request): string | undefined {
  const name = params['queueName'];
  return typeof name === 'string' ? name : undefined;
}

/** The script runs before Bull Board's own; the styles come after its own. */
function headOf(view: View): string {
  const { theme, csrfToken } = view;
  const data = { 'data-theme': theme, 'data-choose': view.path('/theme'), 'data-csrf': csrfToken };
  const script = <script src={view.asset('queues.js')} {...data} />;
  return renderToString(
    <>
      {script}
      <script type="module" src={view.asset('page.js')} />
      <script type="module" src={view.asset('board.js')} />
      <link rel="stylesheet" href={view.asset('bar.css')} />
      <link rel="stylesheet" href={view.asset('queues.css')} />
    </>,
  );
}
