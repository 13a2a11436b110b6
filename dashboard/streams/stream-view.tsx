/** One stream: what it has, what is kept of it, its groups with their consumers, and its newest entries. */
import type { StreamGroupInfo, StreamInfo } from 'millrace';
import { linkTo, segment } from '../fleet/links.ts';
import { LiveCount, LivePart } from '../live/marks.tsx';
import {
  ActionForm,
  Back,
  Bytes,
  Count,
  Duration,
  Empty,
  Notice,
  Panel,
  Stat,
  Stats,
  Table,
  Time,
} from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { Consumers, GroupState } from './consumers.tsx';
import { GroupDeadLetters, Lag } from './figures.tsx';
import { Keep } from './keep.tsx';
import type { Newest, ShownEntry } from './newest.ts';

export interface StreamViewParts {
  info: StreamInfo;
  /** Undefined for whoever may not see what is in it. */
  newest: Newest | undefined;
  /** Whether something could be trimmed. */
  isTrimmable: boolean;
}

export function StreamView({ info, newest, isTrimmable }: StreamViewParts) {
  const { name, kind, length, bytes, oldestAt, groups, missing, keep } = info;
  const trim = isTrimmable && <ActionForm to={`/streams/${segment(name)}/trim`} label="Trim now" />;
  return (
    <>
      <Back to="/streams">All streams</Back>
      <Stats>
        <Stat label={kind === 'events' ? 'Events' : 'Entries'}>
          <LiveCount name={`stream:${name}:length`} of={length} />
        </Stat>
        <Stat label="Memory, about">
          <Bytes of={bytes} />
        </Stat>
        {kind === 'stream' && (
          <Stat label="Oldest entry">
            <Time at={oldestAt} />
          </Stat>
        )}
      </Stats>
      <Panel title="What is kept" actions={trim}>
        <Keep info={info} />
      </Panel>
      {kind === 'stream' && (
        <LivePart name="groups" when="list:streams">
          {missing.length > 0 && keep?.heldBy?.why !== 'absent' && (
            <Notice>
              The contract names {missing.join(', ')}, and nobody has made {missing.length === 1 ? 'it' : 'them'} yet.
              The first consumer does.
            </Notice>
          )}
          <Groups stream={name} groups={groups} />
          <Consumers groups={groups} />
        </LivePart>
      )}
      <Panel title={kind === 'events' ? 'Newest events' : 'Newest entries'}>
        {newest ? (
          <Entries newest={newest} kind={kind} />
        ) : (
          <Empty>What is in the audit is for admins. They read it on the page Audit.</Empty>
        )}
      </Panel>
    </>
  );
}

function Groups({ stream, groups }: { stream: string; groups: readonly StreamGroupInfo[] }) {
  return (
    <Panel title="Groups">
      <Table
        label="Groups"
        rows={groups}
        rowKey={({ name }) => name}
        empty="No group reads it yet. The first consumer of a group makes the group."
        columns={[
          { head: 'Group', isTitle: true, cell: ({ name }) => name },
          { head: 'State', cell: (group) => <GroupState group={group} /> },
          { head: 'Not read', align: 'end', cell: (group) => <Lag group={group} stream={stream} /> },
          {
            head: 'Pending',
            align: 'end',
            cell: ({ name, pending }) => <LiveCount name={`group:${stream}/${name}:pending`} of={pending} />,
          },
          { head: 'To be tried again', align: 'end', cell: ({ retrying }) => <Count of={retrying} /> },
          { head: 'Oldest pending', align: 'end', cell: ({ oldestPendingMs }) => <Duration ms={oldestPendingMs} /> },
          { head: 'Dead letters', align: 'end', cell: (group) => <GroupDeadLetters stream={stream} group={group} /> },
          { head: 'Actions', cell: ({ name }) => <Remove stream={stream} group={name} /> },
        ]}
      />
    </Panel>
  );
}

function Remove({ stream, group }: { stream: string; group: string }) {
  const { path, may } = useView();
  if (!may('admin')) return null;
  return (
    <a class="button danger" href={path(linkTo(`/streams/${segment(stream)}/remove-group`, { group }))}>
      Remove
    </a>
  );
}

function Entries({ newest: { entries, isHeavy }, kind }: { newest: Newest; kind: StreamInfo['kind'] }) {
  const when = { head: 'Published', cell: ({ at }: ShownEntry) => <Time at={at} /> };
  return (
    <>
      {isHeavy && <Notice>Only the newest {entries.length} are shown, because they are large.</Notice>}
      <Table
        label={kind === 'events' ? 'Newest events' : 'Newest entries'}
        rows={entries}
        rowKey={({ id }) => id}
        empty="It has none now."
        columns={[
          { head: kind === 'events' ? 'Position' : 'Id', isTitle: true, cell: ({ id }) => <code>{id}</code> },
          ...(kind === 'events' ? [] : [when]),
          { head: kind === 'events' ? 'Event' : 'Data', cell: (entry) => <EntryText entry={entry} /> },
        ]}
      />
    </>
  );
}

function EntryText({ entry: { text, isCut, more } }: { entry: ShownEntry }) {
  return (
    <div class="entry">
      <code>{text === '' ? '(no data)' : text}</code>
      {isCut && <span class="hint"> The beginning of it.</span>}
      {more.map(([name, value]) => (
        <div key={name} class="hint">
          {name}: <code>{value}</code>
        </div>
      ))}
    </div>
  );
}
