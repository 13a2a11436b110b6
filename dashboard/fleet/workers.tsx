/** The worker processes: where each runs, what it works on, and how it is. */
import type { Router } from 'express';
import type { WorkerInfo } from 'millrace';
import type { Desk } from '../desk.ts';
import { LiveCount, LivePart } from '../live/marks.tsx';
import { Button, Count, Field, Form, Notice, Panel, Stat, Stats, Table, Time } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { query } from '../view/input.ts';
import { refusePage } from '../view/refuse.tsx';
import { segment } from './links.ts';
import { partOf, PartPager, type Part } from './part.tsx';
import { renderFleet } from './tabs.tsx';
import { Busy, busyOf, JOB_COLUMNS, lastTaken, Lateness, Memory, ProcessName, Seen, State } from './worker-cells.tsx';
import { WorkerView } from './worker-view.tsx';

/** Of the jobs that run in the processes of a page, so many are listed, those that run longest. */
const MOST_RUNNING = 100;

export function addWorkers(router: Router, { platform }: Desk): void {
  router.get('/', async (request, response) => {
    const text = query(request, 'text').trim().slice(0, 100);
    const all = await platform.fleet.workers();
    const part = partOf(all.filter((worker) => isAbout(worker, text.toLowerCase())).toSorted(silentFirst), request);
    renderFleet(response, '/fleet', <Workers all={all} part={part} text={text} />);
  });
  router.get('/workers/:id', async (request, response) => {
    const worker = (await platform.fleet.workers()).find(({ id }) => id === request.params['id']);
    if (!worker)
      return refusePage(response, 404, 'There is no such process. It has stopped, or was silent for an hour.');
    renderFleet(response, '/fleet', <WorkerView worker={worker} />);
  });
}

/** Whether a word is in what somebody might look for. */
function isAbout({ host, pid, appVersion = '', queues, consumers }: WorkerInfo, text: string): boolean {
  const names = [host, String(pid), appVersion, ...queues.map(({ name }) => name)];
  return [...names, ...consumers.map(({ stream }) => stream)].some((name) => name.toLowerCase().includes(text));
}

function silentFirst(one: WorkerInfo, other: WorkerInfo): number {
  return Number(other.state === 'silent') - Number(one.state === 'silent');
}

function Workers({ all, part, text }: { all: readonly WorkerInfo[]; part: Part<WorkerInfo>; text: string }) {
  const count = (state: WorkerInfo['state']): number => all.filter((worker) => worker.state === state).length;
  const heard = all.filter(({ state }) => state !== 'silent');
  return (
    <>
      <Stats>
        <Stat label="Running">
          <LiveCount name="workers:running" of={count('running')} />
        </Stat>
        <Stat label="Draining">
          <LiveCount name="workers:draining" of={count('draining')} />
        </Stat>
        <Stat label="Silent">
          <LiveCount name="workers:silent" of={count('silent')} />
        </Stat>
        <Stat label="Jobs and entries they work on">
          <LiveCount name="workers:active" of={heard.reduce((sum, worker) => sum + busyOf(worker).active, 0)} />
        </Stat>
      </Stats>
      <Form to="/fleet" method="get" kind="filter">
        <Field label="Host, version, queue or stream" name="text" type="search" value={text} />
        <Button>Filter</Button>
      </Form>
      <LivePart name="workers" when="list:workers">
        <WorkerTable workers={part.rows} isNone={all.length === 0} />
      </LivePart>
      <PartPager part={part} of="processes" path="/fleet" parameters={{ text }} />
      {part.rows.length > 0 && <RunningNow workers={part.rows} />}
    </>
  );
}

function WorkerTable({ workers, isNone }: { workers: readonly WorkerInfo[]; isNone: boolean }) {
  return (
    <Table
      label="Worker processes"
      rows={workers}
      rowKey={({ id }) => id}
      empty={
        isNone
          ? 'No worker has been heard of. Start one with `millrace worker FILE`, or with platform.work() in your own process.'
          : 'No process has this in its host, version, queues or streams.'
      }
      columns={[
        { head: 'Process', isTitle: true, cell: (worker) => <ProcessName worker={worker} /> },
        { head: 'State', cell: (worker) => <State worker={worker} /> },
        { head: 'Version', cell: ({ appVersion }) => appVersion ?? <Count of={undefined} /> },
        { head: 'Works on', cell: (worker) => <Places worker={worker} /> },
        { head: 'Busy', align: 'end', cell: (worker) => <Busy worker={worker} /> },
        { head: 'Event loop late by', align: 'end', cell: (worker) => <Lateness worker={worker} /> },
        { head: 'Memory', align: 'end', cell: (worker) => <Memory worker={worker} /> },
        { head: 'Last job taken', cell: ({ queues }) => <Time at={lastTaken(queues)} /> },
        { head: 'Last heard of', cell: (worker) => <Seen worker={worker} /> },
      ]}
    />
  );
}

function Places({ worker: { queues, consumers } }: { worker: WorkerInfo }) {
  const { path } = useView();
  return (
    <ul class="lines">
      {queues.map(({ name }) => (
        <li key={name}>
          <a href={path(`/queues/queue/${segment(name)}`)}>{name}</a>
        </li>
      ))}
      {consumers.map(({ stream, group }) => (
        <li key={`${stream} ${group}`}>
          <a href={path(`/streams/${segment(stream)}`)}>{stream}</a> <span class="hint">as {group}</span>
        </li>
      ))}
    </ul>
  );
}

function RunningNow({ workers }: { workers: readonly WorkerInfo[] }) {
  const running = workers.flatMap((worker) => worker.running.map((job) => ({ job, worker })));
  const shown = running.toSorted((one, other) => one.job.startedAt - other.job.startedAt).slice(0, MOST_RUNNING);
  return (
    <Panel title="Jobs that run now">
      {shown.length < running.length && <Notice>Those {shown.length} that have run longest.</Notice>}
      <Table
        label="Jobs that run now"
        rows={shown}
        rowKey={({ job, worker }) => `${worker.id} ${job.id}`}
        empty="None of these processes told of a job when they were last heard of."
        columns={[...JOB_COLUMNS, { head: 'Where', cell: ({ worker }) => <ProcessName worker={worker} /> }]}
      />
    </Panel>
  );
}
