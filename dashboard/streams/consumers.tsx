/** Who consumes a stream: the consumers of all its groups, and what that makes of each group. */
import type { StreamConsumerInfo, StreamGroupInfo } from 'millrace';
import { Badge, Count, Notice, Panel, Table, Time } from '../view/components.tsx';
import { useView } from '../view/context.ts';

/** More rows than anybody reads. */
const MOST_SHOWN = 500;

/** Whether anybody consumes the group, and how. */
export function GroupState({ group: { isPaused, consumers } }: { group: StreamGroupInfo }) {
  const present = consumers.filter(({ isGone }) => !isGone);
  const standing = present.filter(standsBy).length;
  if (present.length === 0) return <Badge tone="failed">nobody consumes it</Badge>;
  return (
    <div>
      {isPaused ? <Badge tone="paused">paused</Badge> : <Badge tone="completed">consumed</Badge>}
      {standing > 0 && standing < present.length && (
        <div class="hint">in order, by one at a time; {standing === 1 ? 'another stands' : `${standing} stand`} by</div>
      )}
    </div>
  );
}

/** It has its lease and has never asked for an entry, which for more than a moment only one of an ordered group does. */
function standsBy({ isGone, idleMs }: StreamConsumerInfo): boolean {
  return !isGone && idleMs === undefined;
}

export function Consumers({ groups }: { groups: readonly StreamGroupInfo[] }) {
  if (groups.length === 0) return null;
  const all = groups.flatMap(({ name: group, consumers }) => consumers.map((consumer) => ({ group, consumer })));
  const shown = all.slice(0, MOST_SHOWN);
  const total = groups.reduce((sum, { consumerCount }) => sum + consumerCount, 0);
  return (
    <Panel title="Consumers">
      {shown.length < total && (
        <Notice>
          {shown.length} of {total} consumers; of each group those for which most is pending.
        </Notice>
      )}
      <Table
        label="Consumers"
        rows={shown}
        rowKey={({ group, consumer }) => `${group} ${consumer.name}`}
        empty="No consumer has come yet. Start a worker that consumes it."
        columns={[
          { head: 'Consumer', isTitle: true, cell: ({ consumer }) => consumer.name },
          { head: 'Group', cell: ({ group }) => group },
          { head: 'State', cell: ({ consumer }) => <ConsumerState consumer={consumer} /> },
          { head: 'Pending', align: 'end', cell: ({ consumer }) => <Count of={consumer.pending} /> },
          { head: 'Idle since', align: 'end', cell: ({ consumer }) => <IdleSince ms={consumer.idleMs} /> },
        ]}
      />
    </Panel>
  );
}

function ConsumerState({ consumer }: { consumer: StreamConsumerInfo }) {
  if (consumer.isGone) return <Badge>gone</Badge>;
  if (consumer.isPaused) return <Badge tone="paused">paused</Badge>;
  if (standsBy(consumer)) return <Badge tone="waiting">stands by</Badge>;
  return <Badge tone="completed">works</Badge>;
}

/** When it last asked for entries. */
function IdleSince({ ms }: { ms: number | undefined }) {
  const { now } = useView();
  return <Time at={ms === undefined ? undefined : now - ms} />;
}
