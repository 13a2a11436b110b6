/** Queues, as those who run them see them: who works on each, and whether it is paused. */
import type { Request, Router } from 'express';
import type { QueueCounts, WorkerInfo } from 'millrace';
import { needs } from '../access/roles.ts';
import type { Desk } from '../desk.ts';
import { LiveBadge, LiveCount, LivePart } from '../live/marks.tsx';
import { ActionForm, Badge, Button, Count, Field, Form, Table } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { field, query } from '../view/input.ts';
import { refusePage } from '../view/refuse.tsx';
import { linkTo, segment } from './links.ts';
import { partOf, PartPager, type Part } from './part.tsx';
import { renderFleet } from './tabs.tsx';

const PATH = '/fleet/queues';

interface QueueRow {
  readonly name: string;
  readonly counts: QueueCounts;
  readonly isPaused: boolean;
  /** Processes that work on it and are not silent, and the jobs that they can run at once. */
  readonly workers: number;
  readonly concurrency: number;
}

export function addQueues(router: Router, desk: Desk): void {
  const { jobs, fleet } = desk.platform;
  router.get('/queues', async (request, response) => {
    const text = query(request, 'name').trim().slice(0, 100);
    const [names, workers] = await Promise.all([jobs.queues(), fleet.workers()]);
    const present = workers.filter(({ state }) => state !== 'silent');
    const all = [...new Set([...names, ...present.flatMap(({ queues }) => queues.map(({ name }) => name))])].toSorted();
    const part = partOf(
      all.filter((name) => name.toLowerCase().includes(text.toLowerCase())),
      request,
    );
    const rows = await Promise.all(part.rows.map((name) => rowOf(desk, name, present)));
    renderFleet(response, PATH, <Queues part={{ ...part, rows }} text={text} isNone={all.length === 0} />);
  });
  for (const verb of ['pause', 'resume'] as const) {
    router.post(`/queues/${verb}`, needs('operator'), async (request, response) => {
      const queue = field(request, 'queue');
      if (!(await isKnown(desk, queue))) return refusePage(response, 404, 'There is no such queue.');
      await desk.act(response, { action: `queue.${verb}`, target: queue }, () => jobs[verb](queue));
      const text = verb === 'pause' ? `${queue} is paused. Jobs that run now go on.` : `${queue} runs again.`;
      desk.redirect(response, backOf(request), { tone: 'good', text });
    });
  }
}

async function isKnown({ platform: { jobs, fleet } }: Desk, queue: string): Promise<boolean> {
  if ((await jobs.queues()).includes(queue)) return true;
  return (await fleet.workers()).some(({ queues }) => queues.some(({ name }) => name === queue));
}

/** The same part of the list as before. */
function backOf(request: Request): string {
  return linkTo(PATH, { name: field(request, 'name').slice(0, 100), page: field(request, 'page').slice(0, 10) });
}

async function rowOf({ platform: { jobs } }: Desk, name: string, workers: readonly WorkerInfo[]): Promise<QueueRow> {
  const [counts, isPaused] = await Promise.all([jobs.counts(name), jobs.isPaused(name)]);
  const places = workers.flatMap(({ queues }) => queues.filter((queue) => queue.name === name));
  const concurrency = places.reduce((sum, place) => sum + place.concurrency, 0);
  return { name, counts, isPaused, workers: places.length, concurrency };
}

function Queues({ part, text, isNone }: { part: Part<QueueRow>; text: string; isNone: boolean }) {
  return (
    <>
      <Form to={PATH} method="get" kind="filter">
        <Field label="Name" name="name" type="search" value={text} />
        <Button>Filter</Button>
      </Form>
      <LivePart name="queues" when="list:queues">
        <Table
          label="Queues"
          rows={part.rows}
          rowKey={({ name }) => name}
          empty={
            isNone
              ? 'No queue was used yet. The first job that is enqueued makes one, and so does a worker that waits for it.'
              : 'No queue has this in its name.'
          }
          columns={[
            { head: 'Queue', isTitle: true, cell: ({ name }) => <QueueLink name={name} /> },
            { head: 'State', cell: (row) => <QueueState row={row} /> },
            { head: 'Workers', align: 'end', cell: (row) => <Workers row={row} /> },
            { head: 'At once', align: 'end', cell: ({ concurrency }) => <Count of={concurrency} /> },
            {
              head: 'Running',
              align: 'end',
              cell: ({ name, counts }) => <LiveCount name={`queue:${name}:active`} of={counts.active} />,
            },
            {
              head: 'Waiting',
              align: 'end',
              cell: ({ name, counts: { waiting, prioritized } }) => (
                <LiveCount name={`queue:${name}:waiting`} of={waiting + prioritized} />
              ),
            },
            { head: 'Actions', cell: (row) => <Switch row={row} text={text} page={part.page} /> },
          ]}
        />
      </LivePart>
      <PartPager part={part} of="queues" path={PATH} parameters={{ name: text }} />
    </>
  );
}

function QueueLink({ name }: { name: string }) {
  const { path } = useView();
  return <a href={path(`/queues/queue/${segment(name)}`)}>{name}</a>;
}

function QueueState({ row: { name, isPaused } }: { row: QueueRow }) {
  return (
    <LiveBadge name={`queue:${name}:state`} tone={isPaused ? 'paused' : 'completed'}>
      {isPaused ? 'paused' : 'running'}
    </LiveBadge>
  );
}

function Workers({ row: { workers, counts } }: { row: QueueRow }) {
  if (workers === 0 && counts.waiting + counts.prioritized > 0) return <Badge tone="failed">nobody works on it</Badge>;
  return <Count of={workers} />;
}

function Switch({ row: { name: queue, isPaused }, text, page }: { row: QueueRow; text: string; page: number }) {
  const fields = { queue, name: text, page };
  if (isPaused) return <ActionForm to={`${PATH}/resume`} fields={fields} label="Resume" />;
  const meaning = `No worker takes a job of ${queue} until somebody resumes it. Jobs that run now go on, and new ones wait.`;
  return <ActionForm to={`${PATH}/pause`} fields={fields} label="Pause" confirm={meaning} />;
}
