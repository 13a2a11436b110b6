/** The state of everything on one screen, and the ways onward. */
import type { Report } from 'millrace';
import { viewOf, type Page } from '../desk.ts';
import { cellsOf, rateText, shareText, type Cells } from '../live/cells.ts';
import { ChartSet } from '../live/chart-view.tsx';
import { CHART_SCRIPTS, CHART_STYLES } from '../live/charts-page.tsx';
import { liveOf } from '../live/live.ts';
import { LiveCount, LivePart, LiveText } from '../live/marks.tsx';
import type { Snapshot } from '../live/snapshot.ts';
import { durationText } from '../live/texts.ts';
import { Badge, Empty, Panel, Stat, Stats, Table, Time } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { render } from '../view/render.ts';
import { Findings } from '../fleet/findings.tsx';
import { DoctorReports } from './doctor.ts';
import { QueueTable } from './queue-table.tsx';

export const overviewPage: Page = {
  path: '/',
  title: 'Overview',
  nav: 'Overview',
  needs: 'viewer',
  routes(router, desk) {
    const live = liveOf(desk);
    const doctor = new DoctorReports(desk.platform);
    router.get('/', async (_request, response) => {
      const [snapshot, report] = await Promise.all([live.snapshot(), doctor.report()]);
      if (!snapshot) response.set('Refresh', '3');
      render(response, viewOf(response), {
        title: 'Overview',
        active: '/',
        body: snapshot ? <Overview snapshot={snapshot} cells={cellsOf(snapshot)} report={report} /> : <Starting />,
        scripts: CHART_SCRIPTS,
        styles: CHART_STYLES,
      });
    });
  },
};

/** Where nobody has looked of late, and a look takes longer than a page waits. */
function Starting() {
  return (
    <Panel title="Starting">
      <Empty>The first figures are on their way. This page loads itself again until they are there.</Empty>
    </Panel>
  );
}

interface Shown {
  snapshot: Snapshot;
  cells: Cells;
  report: Report | undefined;
}

function Overview({ snapshot, cells, report }: Shown) {
  const listed = (name: string): string | undefined => cells.get(`list:${name}`)?.[0];
  const { counts, alerts = [] } = snapshot;
  const { path } = useView();
  return (
    <>
      <LivePart name="alerts" when="list:alerts" is={listed('alerts')}>
        {alerts.length > 0 && <Firing alerts={alerts} />}
      </LivePart>
      <Figures snapshot={snapshot} />
      <LivePart name="queues" when="list:queues" is={listed('queues')}>
        {counts.queues === 0 ? <FirstSteps /> : <QueueTable snapshot={snapshot} />}
      </LivePart>
      {counts.queues > 0 && (
        <Panel title="The last hour" actions={<a href={path('/charts')}>All charts</a>}>
          <ChartSet queue={undefined} range="1h" only={SHOWN_CHARTS} />
        </Panel>
      )}
      <Panel title="Doctor" actions={report && <span>{report.nodes.map(({ server }) => server).join(', ')}</span>}>
        <Doctor report={report} />
      </Panel>
    </>
  );
}

const SHOWN_CHARTS = ['throughput', 'wait', 'depth', 'oldest'];

function Figures({ snapshot: { totals, workerStates, alerts, streams } }: { snapshot: Snapshot }) {
  const { waiting, active, delayed, dead } = totals;
  const lag = streams.flatMap(({ groups }) => groups).reduce((sum, group) => sum + group.lag, 0);
  const { running, draining, silent } = workerStates;
  const text = (name: string) => <Cell name={name} totals={totals} />;
  return (
    <Stats>
      <Stat label="Waiting" to="/jobs?state=waiting">
        <LiveCount name="total:waiting" of={waiting} />
      </Stat>
      <Stat label="Running" to="/jobs?state=active">
        <LiveCount name="total:active" of={active} />
      </Stat>
      <Stat label="Delayed" to="/jobs?state=delayed">
        <LiveCount name="total:delayed" of={delayed} />
      </Stat>
      <Stat label="Attempts a minute" to="/charts">
        {text('per-minute')}
      </Stat>
      <Stat label="Of these failed" to="/charts">
        {text('failed-share')}
      </Stat>
      <Stat label="Oldest waits for">{text('oldest')}</Stat>
      <Stat label="Dead letters" to="/dead-letters">
        <LiveCount name="total:dead" of={dead} />
      </Stat>
      <Stat label="Workers" to="/fleet">
        <LiveCount name="workers:running" of={running} />
        <Also name="workers:draining" of={draining} word="draining" />
        <Also name="workers:silent" of={silent} word="silent" />
      </Stat>
      <Stat label="Entries not read" to="/streams">
        <LiveCount name="streams:lag" of={lag} />
      </Stat>
      {alerts && (
        <Stat label="Alerts" to="/alerts">
          <LiveCount name="alerts:firing" of={alerts.length} />
        </Stat>
      )}
    </Stats>
  );
}

/** A figure of all queues that has a text of its own. */
function Cell({ name, totals }: { name: string; totals: Snapshot['totals'] }) {
  const [text, value] = totalCell(name, totals);
  return (
    <LiveText name={`total:${name}`} isZero={value === 0}>
      {text}
    </LiveText>
  );
}

function totalCell(name: string, totals: Snapshot['totals']): [text: string, value: number] {
  const { oldestAgeMs, perMinute, failedShare } = totals;
  if (name === 'oldest') return [oldestAgeMs === undefined ? '–' : durationText(oldestAgeMs), oldestAgeMs ?? 0];
  if (name === 'per-minute') return [rateText(perMinute), perMinute ?? 0];
  return [shareText(failedShare), failedShare ?? 0];
}

/** What is worth a word only when there is any. */
function Also({ name, of, word }: { name: string; of: number; word: string }) {
  return (
    <span class="also" data-live-show={name} hidden={of === 0}>
      {', '}
      <LiveCount name={name} of={of} /> {word}
    </span>
  );
}

const TONES = { warning: 'waiting', critical: 'failed' } as const;

function Firing({ alerts }: { alerts: NonNullable<Snapshot['alerts']> }) {
  const { path } = useView();
  return (
    <Panel title="Firing" actions={<a href={path('/alerts')}>All alerts</a>}>
      <Table
        label="Alerts that fire"
        rows={alerts.slice(0, 5)}
        rowKey={({ id }) => id}
        columns={[
          { head: 'Alert', isTitle: true, cell: ({ rule }) => rule },
          { head: 'Severity', cell: ({ severity }) => <Badge tone={TONES[severity]}>{severity}</Badge> },
          { head: 'Of what', cell: ({ subject }) => subject },
          { head: 'What was found', isProse: true, cell: ({ text }) => text },
          { head: 'Since', cell: ({ since }) => <Time at={since} /> },
          {
            head: 'Acknowledged',
            cell: ({ acknowledgedBy }) => (acknowledgedBy ? `by ${acknowledgedBy}` : 'by nobody'),
          },
        ]}
      />
    </Panel>
  );
}

function FirstSteps() {
  return (
    <Panel title="Queues">
      <Empty>
        No queue was used yet. The first job that is enqueued makes one:{' '}
        <code>await platform.jobs.enqueue(contract, input)</code>. A worker that runs it shows up here as soon as it
        starts: <code>{'await platform.work({ handlers })'}</code>.
      </Empty>
    </Panel>
  );
}

function Doctor({ report }: { report: Report | undefined }) {
  if (!report) return <Empty>The doctor still looks at the server. Load the page again in a moment.</Empty>;
  return <Findings findings={report.findings} />;
}
