/** The list of streams. */
import type { ComponentChildren } from 'preact';
import { linkTo, segment } from '../fleet/links.ts';
import { PartPager } from '../fleet/part.tsx';
import { LiveCount, LivePart } from '../live/marks.tsx';
import { Badge, Button, Count, Duration, Field, Form, Notice, Table } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { heldText } from './keep.tsx';
import { deadLettersPath, Lag } from './figures.tsx';
import type { Sort, StreamList, StreamRow } from './list.ts';

export function StreamListView({ list }: { list: StreamList }) {
  const { part, isUnused, sort, text, compared } = list;
  const parameters = { name: text, sort: sort === 'name' ? '' : sort };
  return (
    <>
      <Form to="/streams" method="get" kind="filter">
        <Field label="Name" name="name" type="search" value={text} placeholder="orders" />
        {sort !== 'name' && <input type="hidden" name="sort" value={sort} />}
        <Button>Filter</Button>
      </Form>
      {compared !== undefined && (
        <Notice>
          Only the first {compared} streams by name were compared. A part of a name above finds the others.
        </Notice>
      )}
      {isUnused && (
        <Notice>
          No stream of yours was used yet. The first process that publishes to one, or consumes it, makes it known here.
        </Notice>
      )}
      <LivePart name="streams" when="list:streams">
        <StreamTable rows={part.rows} sort={sort} text={text} />
      </LivePart>
      <PartPager part={part} of="streams" path="/streams" parameters={parameters} />
    </>
  );
}

interface TableParts {
  rows: readonly StreamRow[];
  sort: Sort;
  text: string;
}

function StreamTable({ rows, sort, text }: TableParts) {
  const { path } = useView();
  const by = (own: Sort, words: string) => ({
    label: words,
    head: (
      <SortLink
        to={linkTo('/streams', { name: text, sort: own === 'name' ? '' : own })}
        isActive={own === sort}
        arrow={own === 'name' ? '↑' : '↓'}
      >
        {words}
      </SortLink>
    ),
  });
  return (
    <Table
      label="Streams"
      rows={rows}
      rowKey={({ name }) => name}
      empty={text === '' ? 'There is none.' : 'No stream has this in its name.'}
      columns={[
        {
          ...by('name', 'Stream'),
          isTitle: true,
          cell: ({ name }) => <a href={path(`/streams/${segment(name)}`)}>{name}</a>,
        },
        {
          ...by('length', 'Entries'),
          align: 'end',
          cell: ({ name, info }) =>
            info ? <LiveCount name={`stream:${name}:length`} of={info.length} /> : <Badge>not used yet</Badge>,
        },
        { head: 'Groups', align: 'end', cell: ({ info }) => <Groups row={info} /> },
        {
          ...by('lag', 'Not read'),
          align: 'end',
          cell: ({ furthest }) => (furthest ? <Lag group={furthest} /> : <Count of={undefined} />),
        },
        { ...by('pending', 'Pending'), align: 'end', cell: ({ pending }) => <Count of={pending} /> },
        {
          ...by('oldest', 'Oldest pending'),
          align: 'end',
          cell: ({ oldestPendingMs }) => <Duration ms={oldestPendingMs} />,
        },
        { ...by('dead', 'Dead letters'), align: 'end', cell: (row) => <DeadLetters row={row} /> },
        {
          head: 'Held back by',
          cell: ({ info }) => (info?.keep?.heldBy ? heldText(info.keep.heldBy) : <span class="zero">–</span>),
        },
      ]}
    />
  );
}

/** A head of a column that sorts by it; the list says by which it is sorted. */
function SortLink({
  to,
  isActive,
  arrow,
  children,
}: {
  to: string;
  isActive: boolean;
  arrow: string;
  children: ComponentChildren;
}) {
  const { path } = useView();
  return (
    <a href={path(to)}>
      {isActive && <span class="unseen">sorted by </span>}
      {children}
      {isActive && <span aria-hidden="true"> {arrow}</span>}
    </a>
  );
}

function Groups({ row }: { row: StreamRow['info'] }) {
  if (!row) return <Count of={undefined} />;
  return (
    <span>
      <Count of={row.groups.length} />
      {row.missing.length > 0 && ` and ${row.missing.length} not made yet`}
    </span>
  );
}

/** With the way to them: to those of the only group that has some, or to the list of all. */
function DeadLetters({ row: { name, info, dead } }: { row: StreamRow }) {
  const { path } = useView();
  const [group, another] = info?.groups.filter(({ deadLetters }) => deadLetters > 0) ?? [];
  if (!group) return <Count of={0} />;
  return (
    <a href={path(another ? '/dead-letters/streams' : deadLettersPath(name, group.name))}>
      <Count of={dead} />
    </a>
  );
}
