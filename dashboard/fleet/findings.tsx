/** What the doctor has found, the worst first. */
import type { Finding, Severity } from 'millrace';
import { Badge, Table } from '../view/components.tsx';
import type { Tone } from '../view/values.tsx';

const SEVERITIES: readonly Severity[] = ['error', 'warning', 'note'];
const TONES: Readonly<Record<Severity, Tone>> = { error: 'failed', warning: 'waiting', note: 'active' };

export function Findings({ findings }: { findings: readonly Finding[] }) {
  const rows = findings.toSorted((one, other) => SEVERITIES.indexOf(one.severity) - SEVERITIES.indexOf(other.severity));
  return (
    <Table
      label="What the doctor found"
      rows={rows}
      rowKey={({ id, found }) => `${id} ${found}`}
      empty="Nothing is wrong with the server."
      columns={[
        { head: 'Severity', cell: ({ severity }) => <Badge tone={TONES[severity]}>{severity}</Badge> },
        { head: 'What was found', isTitle: true, cell: ({ found }) => found },
        { head: 'What it means', isProse: true, cell: ({ means }) => means },
        { head: 'How to mend it', isProse: true, cell: ({ mend }) => mend },
      ]}
    />
  );
}
