/** The pages of stream dead letters. */
import type { StreamDeadLetter, StreamLetterFilter } from 'millrace';
import {
  ActionForm,
  Back,
  Badge,
  Button,
  Count,
  Form,
  Json,
  Pager,
  Panel,
  Select,
  Table,
  Time,
} from '../../view/components.tsx';
import { useView } from '../../view/context.ts';
import { LetterHead } from '../letter-head.tsx';
import { Stack } from '../stack.tsx';
import { LetterTabs } from '../tabs.tsx';
import { groupPath, STREAM_REASONS } from './group.ts';

/** A group of a stream. */
export interface GroupRow {
  stream: string;
  group: string;
  deadLetters: number;
}

export function GroupList({ rows, leftOut }: { rows: readonly GroupRow[]; leftOut: number }) {
  const { path } = useView();
  return (
    <>
      <LetterTabs active="/dead-letters/streams" />
      {leftOut > 0 && <p class="hint">{leftOut} streams are not shown.</p>}
      <Table
        label="Groups"
        rows={rows.toSorted((one, other) => other.deadLetters - one.deadLetters)}
        rowKey={({ stream, group }) => `${stream} ${group}`}
        empty="No stream has a group yet: the first consumer of a group makes it."
        columns={[
          {
            head: 'Stream and group',
            isTitle: true,
            cell: ({ stream, group }) => <a href={path(groupPath(stream, group))}>{`${stream}, ${group}`}</a>,
          },
          { head: 'Dead letters', align: 'end', cell: ({ deadLetters }) => <Count of={deadLetters} /> },
        ]}
      />
    </>
  );
}

const SELECTION = 'selection';

function box({ id }: StreamDeadLetter) {
  return <input type="checkbox" name="id" value={id} form={SELECTION} aria-label={`Select ${id}`} />;
}

export function GroupLetters({
  stream,
  group,
  filter,
  page,
  isFirst,
}: {
  stream: string;
  group: string;
  filter: StreamLetterFilter;
  page: { letters: readonly StreamDeadLetter[]; cursor: string | undefined };
  isFirst: boolean;
}) {
  const { path, may } = useView();
  const to = groupPath(stream, group);
  const said = Object.entries(filter).map(([name, value]): [string, string] => [name, String(value)]);
  const linkTo = (cursor?: string): string => `${to}?${new URLSearchParams([...said, ...more(cursor)])}`;
  return (
    <>
      <LetterTabs active="/dead-letters/streams" />
      <Form to={to} method="get" kind="filter">
        <Select
          label="Reason"
          name="reason"
          value={filter.reason ?? ''}
          options={[{ value: '', text: 'Any' }, ...STREAM_REASONS]}
        />
        <button>Filter</button>
      </Form>
      <Panel
        title="Letters"
        actions={
          <>
            <Form to={`${to}/redrive`} id={SELECTION} needs="operator">
              <Button>Redrive selected</Button>
            </Form>
            {may('operator') && (
              <details class="confirm">
                <summary class="button danger">Discard selected</summary>
                <p>Remove the selected letters for good? This cannot be taken back.</p>
                <button class="danger" form={SELECTION} formaction={path(`${to}/discard`)}>
                  Discard selected
                </button>
              </details>
            )}
            <ActionForm
              to={`${to}/redrive`}
              fields={{ all: 'yes', ...Object.fromEntries(said) }}
              label="Redrive all that match"
              confirm="Publish all that match again, for this group only?"
            />
            <ActionForm
              to={`${to}/discard`}
              fields={{ all: 'yes', ...Object.fromEntries(said) }}
              label="Discard all that match"
              tone="danger"
              needs="admin"
              confirm="Remove all that match for good? This cannot be taken back."
            />
          </>
        }
      >
        <Table
          label="Letters"
          rows={page.letters}
          rowKey={({ id }) => id}
          empty="No dead letter matches."
          columns={[
            ...(may('operator') ? [{ head: <span class="unseen">Select</span>, label: 'Select', cell: box }] : []),
            { head: 'Died', cell: ({ diedAt }) => <Time at={diedAt} /> },
            {
              head: 'Letter',
              isTitle: true,
              cell: ({ id }) => (
                <a class="number" href={path(`${to}/${id}`)}>
                  {id}
                </a>
              ),
            },
            { head: 'Entry', cell: ({ entryId }) => <span class="number">{entryId}</span> },
            { head: 'Reason', cell: ({ reason }) => <Badge tone="failed">{reason}</Badge> },
            { head: 'Attempts', align: 'end', cell: ({ attempts }) => <Count of={attempts} /> },
            { head: 'Error', isProse: true, cell: ({ error }) => `${error.name}: ${error.message.slice(0, 300)}` },
          ]}
        />
        <Pager
          previous={isFirst ? undefined : linkTo()}
          previousText="Newest"
          next={page.cursor === undefined ? undefined : linkTo(page.cursor)}
          nextText="Older"
        />
      </Panel>
    </>
  );
}

function more(cursor: string | undefined): Array<[string, string]> {
  return cursor === undefined ? [] : [['cursor', cursor]];
}

export function StreamLetter({ letter }: { letter: StreamDeadLetter }) {
  return (
    <>
      <Back to={groupPath(letter.stream, letter.group)}>{`All dead letters of ${letter.stream}, ${letter.group}`}</Back>
      <LetterHead
        letter={letter}
        to={groupPath(letter.stream, letter.group)}
        fields={{ id: letter.id }}
        facts={[
          ['Stream', letter.stream],
          ['Group', letter.group],
          ['Entry', letter.entryId],
          ['Published', <Time at={letter.publishedAt} />],
          ['Attempts', <Count of={letter.attempts} />],
        ]}
      >
        <p class="hint">Redriving publishes it again for this group only, with all its attempts.</p>
      </LetterHead>
      <Panel title="Entry">
        <Json label="Data" value={letter.data} />
        {Object.keys(letter.headers).length > 0 && <Json label="Headers" value={letter.headers} />}
      </Panel>
      <Panel title="Error">
        <Stack text={letter.error.stack} />
      </Panel>
    </>
  );
}
