/** What the doctor finds: of Redis, of the way to it, and how to mend it. */
import type { Router } from 'express';
import type { NodeReport, Report, Topology } from 'millrace';
import { systemClock } from 'millrace';
import type { Desk } from '../desk.ts';
import type { Memo } from '../memo.ts';
import { countText } from '../live/texts.ts';
import { ActionForm, Bytes, Duration, Panel, Stat, Stats, Table, Time } from '../view/components.tsx';
import { Findings } from './findings.tsx';
import { renderFleet } from './tabs.tsx';

const PATH = '/fleet/doctor';
/** A look takes Redis some 200 commands. */
const GOOD_FOR_MS = 30_000;

interface Look {
  readonly report: Report;
  readonly at: number;
}

export function addDoctor(router: Router, { platform, redirect }: Desk, memo: Memo): void {
  router.get('/doctor', async (_request, response) => {
    const look = await memo.get('doctor', () => lookAt(platform), GOOD_FOR_MS);
    renderFleet(response, PATH, <Doctor {...look} />);
  });
  // Nothing is changed by it, so the audit is not told.
  router.post('/doctor', (_request, response) => {
    memo.clear();
    redirect(response, PATH);
  });
}

async function lookAt(platform: Desk['platform']): Promise<Look> {
  return { report: await platform.diagnose(), at: systemClock.wallMs() };
}

const SERVERS: Readonly<Record<Topology, string>> = {
  standalone: 'One server at',
  sentinel: 'A server behind sentinels at',
  cluster: 'A cluster at',
};
function Doctor({ report, at }: Look) {
  const { address, topology, nodes, clockSkewMs, roundTrip } = report;
  return (
    <>
      <Panel title="Findings" actions={<ActionForm to={PATH} label="Look again" />}>
        <p>
          {SERVERS[topology]} {address}, looked at <Time at={at} />.
        </p>
        <Findings findings={report.findings} />
      </Panel>
      <Panel title="The way to Redis">
        <Stats>
          <Stat label="Round trip, median">{`${roundTrip.medianMs.toFixed(2)} ms`}</Stat>
          <Stat label="Round trip, p99">{`${roundTrip.p99Ms.toFixed(2)} ms`}</Stat>
          <Stat label={clockSkewMs < 0 ? 'Its clock is behind by' : 'Its clock is ahead by'}>
            {`${Math.abs(clockSkewMs)} ms`}
          </Stat>
        </Stats>
      </Panel>
      <Panel title="Servers">
        <Servers nodes={nodes} />
      </Panel>
    </>
  );
}

function Servers({ nodes }: { nodes: readonly NodeReport[] }) {
  return (
    <Table
      label="Servers"
      rows={nodes}
      rowKey={({ address }) => address}
      columns={[
        { head: 'Server', isTitle: true, cell: ({ address }) => address },
        { head: 'What it is', cell: ({ server, role }) => `${server}, ${role}` },
        { head: 'Up for', align: 'end', cell: ({ uptimeSeconds }) => <Duration ms={uptimeSeconds * 1_000} /> },
        { head: 'Append-only file', cell: ({ persistence }) => (persistence.appendOnly ? 'on' : 'off') },
        { head: 'Eviction', cell: ({ evictionPolicy }) => evictionPolicy },
        { head: 'Memory', align: 'end', cell: ({ memory }) => <Memory memory={memory} /> },
        {
          head: 'Connections',
          align: 'end',
          cell: ({ connections: { used, limit } }) => `${countText(used)} of ${countText(limit)}`,
        },
        { head: 'Replicas', align: 'end', cell: ({ replicas }) => replicas },
      ]}
    />
  );
}

function Memory({ memory: { usedBytes, limitBytes } }: Pick<NodeReport, 'memory'>) {
  return (
    <span>
      <Bytes of={usedBytes} />
      {limitBytes === 0 ? ', no limit' : [' of ', <Bytes key="limit" of={limitBytes} />]}
    </span>
  );
}
