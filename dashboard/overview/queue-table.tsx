/** The queues, those with trouble first; the figures stay current. */
import { rateText, shareText } from '../live/cells.ts';
import { LiveBadge, LiveCount, LiveDuration, LiveText } from '../live/marks.tsx';
import type { QueueFigures, Snapshot } from '../live/snapshot.ts';
import { Notice, Panel, Table, type Column } from '../view/components.tsx';
import { useView } from '../view/context.ts';

const count = (figure: 'waiting' | 'active' | 'delayed') => (queue: QueueFigures) => (
  <LiveCount name={`queue:${queue.name}:${figure}`} of={queue[figure]} />
);

export function QueueTable({ snapshot: { queues, counts } }: { snapshot: Snapshot }) {
  const { path } = useView();
  const columns: Array<Column<QueueFigures>> = [
    {
      head: 'Queue',
      isTitle: true,
      cell: ({ name }) => <a href={path(`/queues/queue/${encodeURIComponent(name)}`)}>{name}</a>,
    },
    {
      head: 'State',
      cell: ({ name, isPaused }) => (
        <LiveBadge name={`queue:${name}:state`} tone={isPaused ? 'paused' : 'completed'}>
          {isPaused ? 'paused' : 'running'}
        </LiveBadge>
      ),
    },
    { head: 'Waiting', align: 'end', cell: count('waiting') },
    { head: 'Running', align: 'end', cell: count('active') },
    { head: 'Delayed', align: 'end', cell: count('delayed') },
    {
      head: 'Attempts a minute',
      align: 'end',
      cell: ({ name, perMinute }) => (
        <a href={path(`/charts/${encodeURIComponent(name)}`)}>
          <LiveText name={`queue:${name}:per-minute`} isZero={perMinute === 0}>
            {rateText(perMinute)}
          </LiveText>
        </a>
      ),
    },
    {
      head: 'Of these failed',
      align: 'end',
      cell: ({ name, failedShare }) => (
        <LiveText name={`queue:${name}:failed-share`} isZero={failedShare === undefined || failedShare === 0}>
          {shareText(failedShare)}
        </LiveText>
      ),
    },
    {
      head: 'Oldest waits for',
      align: 'end',
      cell: ({ name, oldestAgeMs }) => <LiveDuration name={`queue:${name}:oldest`} ms={oldestAgeMs} />,
    },
    {
      head: 'Dead letters',
      align: 'end',
      cell: ({ name, dead }) => (
        <a href={path(`/dead-letters?queue=${encodeURIComponent(name)}`)}>
          <LiveCount name={`queue:${name}:dead`} of={dead} />
        </a>
      ),
    },
  ];
  return (
    <Panel title="Queues" actions={<a href={path('/queues')}>All queues</a>}>
      {queues.length < counts.queues && (
        <Notice>
          {queues.length} of {counts.queues} queues, those with trouble first.
        </Notice>
      )}
      <Table label="Queues" rows={queues} rowKey={({ name }) => name} columns={columns} />
    </Panel>
  );
}
