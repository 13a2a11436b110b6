/** What scripts ask for: GET /live/events, what changes, as it changes (client/live.js), and GET /live/charts.json (client/charts.js). */
import { viewOf, type Page } from '../desk.ts';
import { query } from '../view/input.ts';
import { refusePage } from '../view/refuse.tsx';
import { columnsOf, rangeOf } from './chart-data.ts';
import { liveOf } from './live.ts';

export const livePage: Page = {
  path: '/live',
  title: 'Live',
  needs: 'viewer',
  routes(router, desk) {
    const live = liveOf(desk);
    // What lasts is not opened by who asks for its headers only.
    router.head('/events', (_request, response) => void response.set('Allow', 'GET').status(405).end());
    router.get('/events', (request, response) => {
      if (live.hub.open(request, response, viewOf(response).user.name)) return;
      response.set('Retry-After', '30');
      refusePage(response, 503, 'As many tabs are open as may be. Close one, or load the page again later.');
    });
    router.get('/charts.json', async (request, response) => {
      const range = rangeOf(query(request, 'range'));
      const queue = query(request, 'queue') || undefined;
      response.json(columnsOf(await live.charts.points(queue, range), range));
    });
    return live;
  },
};
