/** The history of all queues, or of one, as charts and as a table. */
import { createRequire } from 'node:module';
import type { Request, Response } from 'express';
import type { HistoryPoint } from 'millrace';
import { viewOf, type Page } from '../desk.ts';
import { packageFile } from '../package-files.ts';
import { Empty, Form, Select, Button, Tabs } from '../view/components.tsx';
import { query } from '../view/input.ts';
import { refusePage } from '../view/refuse.tsx';
import { render } from '../view/render.ts';
import { RANGES, rangeOf, type Range } from './chart-data.ts';
import { ChartSet, FigureTable } from './chart-view.tsx';
import { liveOf } from './live.ts';

const uplot = (file: string): string => createRequire(import.meta.url).resolve(`uplot/dist/${file}`);

/** What a page with charts links to. */
export const CHART_SCRIPTS = ['live.js', 'charts.js'] as const;
export const CHART_STYLES = ['uplot.css', 'charts.css'] as const;

export const chartsPage: Page = {
  path: '/charts',
  title: 'Charts',
  nav: 'Charts',
  needs: 'viewer',
  files: {
    'uplot.js': uplot('uPlot.esm.js'),
    'uplot.css': uplot('uPlot.min.css'),
    'charts.css': packageFile('dashboard/live/charts.css'),
  },
  routes(router, desk) {
    const { charts } = liveOf(desk);
    const known = async (): Promise<string[]> =>
      (await desk.platform.jobs.queues()).toSorted((one, other) => one.localeCompare(other));

    const show = async (request: Request, response: Response, queue: string | undefined): Promise<void> => {
      const range = rangeOf(query(request, 'range'));
      const queues = await known();
      if (queue !== undefined && !queues.includes(queue)) return refusePage(response, 404, 'There is no such queue.');
      const points = await charts.rows(queue, range);
      const title = queue === undefined ? 'Charts' : `Charts of ${queue}`;
      const body = <ChartsView queue={queue} queues={queues} range={range} points={points} />;
      render(response, viewOf(response), {
        title,
        active: '/charts',
        body,
        scripts: CHART_SCRIPTS,
        styles: CHART_STYLES,
      });
    };

    router.get('/', async (request, response) => {
      const queue = query(request, 'queue');
      if (queue === '') return show(request, response, undefined);
      const range = rangeOf(query(request, 'range'));
      response.redirect(303, viewOf(response).path(`/charts/${encodeURIComponent(queue)}?range=${range}`));
    });
    router.get('/:queue', (request, response) => show(request, response, request.params.queue));
  },
};

/** More names than a list to choose from can have. */
const MOST_NAMES = 500;

interface Shown {
  queue: string | undefined;
  queues: readonly string[];
  range: Range;
  points: readonly HistoryPoint[];
}

function ChartsView({ queue, queues, range, points }: Shown) {
  if (queues.length === 0) return <Empty>No queue was used yet. The first job that is enqueued makes one.</Empty>;
  const here = queue === undefined ? '/charts' : `/charts/${encodeURIComponent(queue)}`;
  const tabs = Object.entries(RANGES).map(([name, { text }]) => ({ to: `${here}?range=${name}`, text }));
  return (
    <>
      <Form to="/charts" method="get" kind="filter">
        <input type="hidden" name="range" value={range} />
        <Select
          label="Queue"
          name="queue"
          value={queue ?? ''}
          options={[{ value: '', text: 'All queues' }, ...queues.slice(0, MOST_NAMES)]}
        />
        <Button>Show</Button>
      </Form>
      <Tabs label="Range" tabs={tabs} active={`${here}?range=${range}`} />
      <ChartSet queue={queue} range={range} />
      <FigureTable points={points} range={range} />
    </>
  );
}
