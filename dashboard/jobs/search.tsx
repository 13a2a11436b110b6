/** Finding jobs: a filter, and what it has found so far. */
import type { JobPage, JobSummary } from 'millrace';
import { SEARCHABLE_STATES } from 'millrace';
import { Badge, Bytes, Field, Form, Notice, Pager, Panel, Select, Table, Time } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { countText } from '../live/texts.ts';
import { Choice } from './choice.tsx';
import { ContractName } from './contract-name.tsx';
import { STATE_TONES } from './job.tsx';

/** The fields of the filter. */
export const SEARCH_FIELDS = ['contract', 'queue', 'state', 'from', 'to', 'text'] as const;

export type Sought = Record<(typeof SEARCH_FIELDS)[number], string>;

/** What the page shows. */
export interface SearchParts {
  sought: Sought;
  queues: readonly string[];
  contracts: readonly string[];
  /** Undefined where the search cannot be made. */
  page: JobPage | undefined;
  problem?: string | undefined;
  isFirst: boolean;
  /** An id that was looked for and is not there. */
  missing: string;
}

export function JobSearch(parts: SearchParts) {
  const { page, problem, missing } = parts;
  const { path, may } = useView();
  return (
    <>
      <Form to="/jobs" method="get" kind="filter">
        <Field label="Job or dead letter by its id" name="id" type="search" value={missing} />
        <button>Open</button>
        {may('operator') && (
          <a class="button" href={path('/jobs/enqueue')}>
            Enqueue a job
          </a>
        )}
      </Form>
      {missing !== '' && <Notice tone="bad">{`There is no job ${missing}. It may have been removed.`}</Notice>}
      <Filter {...parts} />
      {problem !== undefined && <Notice tone="bad">{problem}</Notice>}
      {page && <Found {...parts} page={page} />}
    </>
  );
}

function Filter({ sought, queues, contracts }: SearchParts) {
  const any = { value: '', text: 'Any' };
  const { path } = useView();
  return (
    <Form to="/jobs" method="get" kind="filter">
      <Choice label="Contract" name="contract" value={sought.contract} choices={contracts} />
      <Choice label="Queue" name="queue" value={sought.queue} choices={queues} />
      <Select label="State" name="state" value={sought.state} options={[any, ...SEARCHABLE_STATES]} />
      <Field label="Enqueued from (UTC)" name="from" type="datetime-local" value={sought.from} />
      <Field label="Before (UTC)" name="to" type="datetime-local" value={sought.to} />
      <Field label="Text in id or input" name="text" type="search" value={sought.text} />
      <button>Find</button>
      {isFiltered(sought) && (
        <a class="button quiet" href={path('/jobs')}>
          Clear
        </a>
      )}
    </Form>
  );
}

function Found({ sought, page, isFirst }: SearchParts & { page: JobPage }) {
  const { path } = useView();
  const link = ({ id }: JobSummary) => <a href={path(`/jobs/${encodeURIComponent(id)}`)}>{id}</a>;
  return (
    <Panel title="Jobs">
      <Table
        label="Jobs"
        rows={page.jobs}
        rowKey={({ id, queue }) => `${queue} ${id}`}
        empty={emptyText(sought, page)}
        columns={[
          { head: 'Job', isTitle: true, cell: link },
          { head: 'Contract', cell: ({ name, queue }) => <ContractName name={name} queue={queue} /> },
          { head: 'State', cell: ({ state }) => <Badge tone={STATE_TONES[state]}>{state}</Badge> },
          { head: 'Attempts', align: 'end', cell: ({ attemptsMade, attempts }) => `${attemptsMade} of ${attempts}` },
          { head: 'Enqueued', cell: ({ enqueuedAt }) => <Time at={enqueuedAt} /> },
          { head: 'Size', align: 'end', cell: ({ inputBytes }) => <Bytes of={inputBytes} /> },
          { head: 'Input', isProse: true, cell: ({ inputText }) => <code>{inputText}</code> },
        ]}
      />
      <Pager
        previous={isFirst ? undefined : searchLink(sought)}
        previousText="Newest"
        next={page.cursor === undefined ? undefined : searchLink(sought, page.cursor)}
        nextText={page.jobs.length === 0 ? 'Look further' : 'Older'}
      >
        {page.scanned === 0 ? undefined : shownText(page)}
      </Pager>
    </Panel>
  );
}

function isFiltered(sought: Sought): boolean {
  return Object.values(sought).some((value) => value !== '');
}

function emptyText(sought: Sought, { cursor }: JobPage): string {
  if (cursor !== undefined) return 'None among those that were looked at. Look further.';
  return isFiltered(sought)
    ? 'No job matches.'
    : 'There is no job: none was enqueued, or those that were are kept no longer.';
}

function shownText(page: JobPage): string {
  const whole = page.cursor === undefined ? wholeText(page) : '';
  return `${page.jobs.length} shown, of ${countText(page.scanned)} that were looked at${whole}`;
}

function wholeText({ isWhole }: JobPage): string {
  return isWhole ? ', all there are' : '; not every input was searched to its end, or not every queue has answered';
}

export function searchLink(sought: Sought, cursor?: string): string {
  const said = Object.entries(sought).filter(([, value]) => value !== '');
  const query = new URLSearchParams([...said, ...(cursor === undefined ? [] : [['cursor', cursor]])] as string[][]);
  return `/jobs${query.size === 0 ? '' : `?${query}`}`;
}
