/** One worker process: how it is, what it works on, and what it runs. */
import type { WorkerInfo } from 'millrace';
import { Back, Badge, Empty, Notice, Panel, Stat, Stats, Table, Time } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { segment } from './links.ts';
import { Busy, JOB_COLUMNS, Lateness, Memory, Seen, State } from './worker-cells.tsx';

export function WorkerView({ worker }: { worker: WorkerInfo }) {
  const { host, pid, state, appVersion, millrace, node, startedAt, queues, consumers, running } = worker;
  return (
    <>
      <h2>
        {host} {pid}
      </h2>
      <Back to="/fleet">All workers</Back>
      {state === 'silent' && (
        <Notice tone="bad">
          It has not been heard of for three heartbeats: it was killed, is frozen, or cannot reach Redis. What it ran is
          given to others once their leases end.
        </Notice>
      )}
      <Stats>
        <Stat label="State">
          <State worker={worker} />
        </Stat>
        <Stat label="Busy">
          <Busy worker={worker} />
        </Stat>
        <Stat label="Event loop late by">
          <Lateness worker={worker} />
        </Stat>
        <Stat label="Memory">
          <Memory worker={worker} />
        </Stat>
        <Stat label="Last heard of">
          <Seen worker={worker} />
        </Stat>
        <Stat label="Running since">
          <Time at={startedAt} />
        </Stat>
      </Stats>
      <p>
        {appVersion === undefined
          ? 'The version of your application is not known: MILLRACE_APP_VERSION tells it.'
          : `Version ${appVersion}.`}{' '}
        Millrace {millrace} on Node {node}.
      </p>
      <Panel title="Works on">
        {queues.length + consumers.length === 0 && <Empty>It works on nothing now.</Empty>}
        {queues.length > 0 && <OwnQueues queues={queues} />}
        {consumers.length > 0 && <OwnConsumers consumers={consumers} />}
      </Panel>
      <Panel title="Jobs that run now">
        <Table
          label="Jobs that run now"
          rows={running.map((job) => ({ job }))}
          rowKey={({ job }) => job.id}
          empty="It ran no job when it was last heard of."
          columns={JOB_COLUMNS}
        />
      </Panel>
    </>
  );
}

function OwnQueues({ queues }: { queues: WorkerInfo['queues'] }) {
  const { path } = useView();
  return (
    <Table
      label="Queues"
      rows={queues}
      rowKey={({ name }) => name}
      columns={[
        {
          head: 'Queue',
          isTitle: true,
          cell: ({ name }) => <a href={path(`/queues/queue/${segment(name)}`)}>{name}</a>,
        },
        { head: 'Busy', align: 'end', cell: ({ active, concurrency }) => `${active} of ${concurrency}` },
        {
          head: 'Last job taken',
          cell: ({ lastTakenAt }) => (lastTakenAt === undefined ? <Badge>none yet</Badge> : <Time at={lastTakenAt} />),
        },
      ]}
    />
  );
}

function OwnConsumers({ consumers }: { consumers: WorkerInfo['consumers'] }) {
  const { path } = useView();
  return (
    <Table
      label="Consumers of streams"
      rows={consumers}
      rowKey={({ stream, group }) => `${stream} ${group}`}
      columns={[
        {
          head: 'Stream',
          isTitle: true,
          cell: ({ stream }) => <a href={path(`/streams/${segment(stream)}`)}>{stream}</a>,
        },
        { head: 'Group', cell: ({ group }) => group },
        { head: 'Busy', align: 'end', cell: ({ active, concurrency }) => `${active} of ${concurrency}` },
      ]}
    />
  );
}
