/** What the doctor finds: of Redis, of the way to it, and how to mend it. */
import type { Router } from 'express';
import type { Finding, NodeReport, Report, Severity, Topology } from 'millrace';
import { systemClock } from 'millrace';
import type { Desk } from '../desk.ts';
import type { Memo } from '../memo.ts';
import { ActionForm, Badge, Bytes, Duration, Empty, Panel, Stat, Stats, Table, Time } from '../view/components.tsx';
import type { Tone } from '../view/values.tsx';
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
const SEVERITIES: readonly Severity[] = ['error', 'warning', 'note'];
const TONES: Readonly<Record<Severity, Tone>> = { error: 'failed', warning: 'waiting', note: 'plain' };

function Doctor({ report, at }: Look) {
  const { address, topology, nodes, clockSkewMs, roundTrip } = report;
  const findings = report.findings.toSorted(
    (one, other) => SEVERITIES.indexOf(one.severity) - SEVERITIES.indexOf(other.severity),
  );
  return (
    <>
      <Panel title="Findings" actions={<ActionForm to={PATH} label="Look again" />}>
        <p>
          {SERVERS[topology]} {address}, looked at <Time at={at} />.
        </p>
        {findings.length === 0 ? <Empty>All is well.</Empty> : <Findings findings={findings} />}
      </Panel>
      <Panel title="The way to Redis">
        <Stats>
          <Stat label="Round trip, median">{`${roundTrip.medianMs.toFixed(2)} ms`}</Stat>
          <Stat label="Round trip, p99">{`${roundTrip.p99Ms.toFixed(2)} ms`}</Stat>
          <Stat label="Its clock is ahead by">{`${clockSkewMs} ms`}</Stat>
        </Stats>
      </Panel>
      <Panel title="Servers">
        <Servers nodes={nodes} />
      </Panel>
    </>
  );
}

function Findings({ findings }: { findings: readonly Finding[] }) {
  return (
    <Table
      label="Findings"
      rows={findings}
      rowKey={({ id, found }) => `${id} ${found}`}
      columns={[
        { head: 'Severity', cell: ({ severity }) => <Badge tone={TONES[severity]}>{severity}</Badge> },
        { head: 'What was found', isTitle: true, cell: ({ found }) => found },
        { head: 'What it means', cell: ({ means }) => means },
        { head: 'How to mend it', cell: ({ mend }) => mend },
      ]}
    />
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
        { head: 'Connections', align: 'end', cell: ({ connections: { used, limit } }) => `${used} of ${limit}` },
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
