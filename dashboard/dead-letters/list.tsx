/** The list of dead letters: a filter, the clusters, and the letters that fit, with boxes to select some. */
import type { DeadLetter, DeadLetterCluster, DeadLetterPage } from 'millrace';
import { Badge, Button, Count, Field, Form, Notice, Pager, Panel, Select, Table, Time } from '../view/components.tsx';
import { Choice } from '../jobs/choice.tsx';
import { ContractName } from '../jobs/contract-name.tsx';
import { useView } from '../view/context.ts';
import { countText, durationText } from '../live/texts.ts';
import { TREND_HOURS, type Counted } from './cluster-board.ts';
import type { ShownClusters } from './shown-clusters.ts';
import { FIELDS, listLink, REASONS, saidBy, type Asked, type ReadFilter } from './filter.ts';
import { Sparkline } from './sparkline.tsx';
import { LetterTabs } from './tabs.tsx';

/** What the list shows. */
export interface ListParts {
  asked: Asked;
  faults: ReadFilter['faults'];
  queues: readonly string[];
  counted: Counted;
  /** The clusters that fit, the largest first. */
  clusters: ShownClusters;
  /** Undefined where the filter cannot be understood. */
  page: DeadLetterPage | undefined;
  isFirst: boolean;
  /** Why there is nothing. */
  problem?: string | undefined;
}

const MOST_TEXT = 300;

export function DeadLetterList(parts: ListParts) {
  const { asked, page, problem } = parts;
  return (
    <>
      <LetterTabs active="/dead-letters" />
      <FilterForm {...parts} />
      {problem !== undefined && <Notice tone="bad">{problem}</Notice>}
      <Clusters {...parts} />
      {page && <Letters asked={asked} page={page} isFirst={parts.isFirst} />}
    </>
  );
}

function FilterForm({ asked, faults, queues }: ListParts) {
  const { path } = useView();
  return (
    <Form to="/dead-letters" method="get" kind="filter">
      <Choice label="Queue" name="queue" value={asked.queue} choices={queues} />
      <Field label="Contract" name="contract" value={asked.contract} />
      <Select
        label="Reason"
        name="reason"
        value={asked.reason}
        options={[{ value: '', text: 'Any' }, ...REASONS]}
        error={faults.reason}
      />
      <Field label="Died from (UTC)" name="from" type="datetime-local" value={asked.from} error={faults.from} />
      <Field label="Before (UTC)" name="to" type="datetime-local" value={asked.to} error={faults.to} />
      <Field label="Text in id, error or input" name="text" type="search" value={asked.text} />
      {asked.fingerprint !== '' && <Field label="Cluster" name="fingerprint" value={asked.fingerprint} />}
      <button>Filter</button>
      {isFiltered(asked) && (
        <a class="button quiet" href={path('/dead-letters')}>
          Clear
        </a>
      )}
    </Form>
  );
}

function isFiltered(asked: Asked): boolean {
  return FIELDS.some((name) => asked[name] !== '');
}

/** Times and texts are of letters, not of clusters. */
function isOfLettersOnly({ from, to, text }: Asked): boolean {
  return `${from}${to}${text}` !== '';
}

function agoText(ms: number): string {
  return ms < 1_000 ? 'just now' : `${durationText(ms)} ago`;
}

function Clusters({ asked, counted, clusters: { shown, count: all } }: ListParts) {
  const { now, path } = useView();
  const link = (cluster: DeadLetterCluster) => (
    <a href={path(listLink({ ...asked, fingerprint: cluster.fingerprint }))}>
      {cluster.errorName}: {cut(cluster.message)}
    </a>
  );
  return (
    <Panel title="Clusters">
      <p class="hint">
        {counted.at === undefined
          ? `Still counting: ${countText(counted.letters)} letters so far. Load the page again for more.`
          : `Dead letters of one cause, counted ${agoText(now - counted.at)}. The trend is that of the last ${TREND_HOURS} hours.`}
        {shown.length < all && ` The largest ${shown.length} of ${all} are shown.`}
        {isOfLettersOnly(asked) && ' They are not filtered by time and text.'}
      </p>
      <Table
        label="Clusters"
        rows={shown}
        rowKey={({ fingerprint }) => fingerprint}
        empty={emptyClusters(asked, counted)}
        columns={[
          { head: 'Failure', isTitle: true, isProse: true, cell: link },
          {
            head: 'Letters',
            align: 'end',
            cell: ({ count }) => (
              <div>
                <Count of={count} />
                <div class="hint">
                  <Share of={count} in={counted.letters} />
                </div>
              </div>
            ),
          },
          {
            head: 'Trend',
            cell: ({ trend = [] }) => <Sparkline counts={trend} label={`Deaths an hour, ${TREND_HOURS} h`} />,
          },
          { head: 'Contract', cell: ({ contract, queue }) => <ContractName name={contract} queue={queue} /> },
          { head: 'Reason', cell: ({ reason }) => <Badge tone="failed">{reason}</Badge> },
          { head: 'First seen', cell: ({ firstSeenAt }) => <Time at={firstSeenAt} /> },
          { head: 'Last seen', cell: ({ lastSeenAt }) => <Time at={lastSeenAt} /> },
          { head: 'Versions', cell: ({ versions }) => versions.slice(0, 5).join(', ') },
          { head: 'Example', cell: ({ sample, queue }) => <LetterLink id={sample} queue={queue} text="Open" /> },
        ]}
      />
    </Panel>
  );
}

function emptyClusters(asked: Asked, { at }: Counted): string {
  if (at === undefined) return 'None was counted yet.';
  return isFiltered(asked) ? 'No cluster matches.' : 'There is none, as there is no dead letter.';
}

function Share({ of: count, in: all }: { of: number; in: number }) {
  if (all === 0) return null;
  const percent = (count * 100) / all;
  return <span class="number">{percent < 1 ? '< 1' : Math.round(percent)} %</span>;
}

const SELECTION = 'selection';

function box({ id }: DeadLetter) {
  return <input type="checkbox" name="id" value={id} form={SELECTION} aria-label={`Select ${id}`} />;
}

function Letters({ asked, page, isFirst }: { asked: Asked; page: DeadLetterPage; isFirst: boolean }) {
  const { may } = useView();
  const mayAct = may('operator');
  const isNone = page.letters.length === 0 && page.cursor === undefined;
  return (
    <Panel title="Letters" actions={mayAct && !isNone && <Actions asked={asked} />}>
      <Table
        label="Letters"
        rows={page.letters}
        rowKey={({ id }) => id}
        empty={
          isNone
            ? isFiltered(asked)
              ? 'No dead letter matches.'
              : 'There is no dead letter: no job has failed for good.'
            : 'None among those that were looked at; there are more.'
        }
        columns={[
          ...(mayAct ? [{ head: <span class="unseen">Select</span>, label: 'Select', cell: box }] : []),
          { head: 'Died', cell: ({ diedAt }) => <Time at={diedAt} /> },
          {
            head: 'Letter',
            isTitle: true,
            cell: ({ id, queue }) => <LetterLink id={id} queue={queue} text={id} />,
          },
          { head: 'Contract', cell: ({ contract, queue }) => <ContractName name={contract} queue={queue} /> },
          { head: 'Reason', cell: ({ reason }) => <Badge tone="failed">{reason}</Badge> },
          { head: 'Error', isProse: true, cell: ({ error }) => `${error.name}: ${cut(error.message)}` },
          { head: 'Redriven', align: 'end', cell: ({ redriven }) => <Count of={redriven} /> },
        ]}
      />
      <Pager
        previous={isFirst ? undefined : listLink(asked)}
        previousText="Newest"
        next={page.cursor === undefined ? undefined : listLink(asked, { cursor: page.cursor })}
        nextText="Older"
      >
        {page.read === page.letters.length
          ? `${page.letters.length} shown`
          : `${page.letters.length} shown, of ${countText(page.read)} that were looked at`}
      </Pager>
    </Panel>
  );
}

/** The boxes stand in the table and belong to the first form; the second means all that match, on whatever page. */
function Actions({ asked }: { asked: Asked }) {
  const { may } = useView();
  return (
    <>
      <Form to="/dead-letters/act" id={SELECTION}>
        <FilterFields asked={asked} />
        <div class="actions">
          <Button name="act" value="redrive">
            Redrive selected
          </Button>
          <Button name="act" value="discard" tone="danger">
            Discard selected
          </Button>
        </div>
      </Form>
      <Form to="/dead-letters/act">
        <TargetFields asked={asked} ids={[]} />
        <div class="actions">
          <Button name="act" value="redrive">
            Redrive all that match
          </Button>
          {may('admin') && (
            <Button name="act" value="discard" tone="danger">
              Discard all that match
            </Button>
          )}
        </div>
      </Form>
    </>
  );
}

/** The target of an action as hidden fields: ids, or all that the filter means. */
export function TargetFields({ asked, ids }: { asked: Asked; ids: readonly string[] }) {
  return (
    <>
      {ids.map((id) => (
        <input key={id} type="hidden" name="id" value={id} />
      ))}
      {ids.length === 0 && <input type="hidden" name="all" value="yes" />}
      <FilterFields asked={asked} />
    </>
  );
}

/** The filter as hidden fields: with ids it says no more than which list they were chosen from. */
function FilterFields({ asked }: { asked: Asked }) {
  return Object.entries(saidBy(asked)).map(([name, value]) => (
    <input key={name} type="hidden" name={name} value={value} />
  ));
}

export function LetterLink({ id, queue, text }: { id: string; queue: string; text: string }) {
  const { path } = useView();
  return <a href={path(`/dead-letters/letter/${encodeURIComponent(id)}?queue=${encodeURIComponent(queue)}`)}>{text}</a>;
}

function cut(text: string): string {
  return text.length > MOST_TEXT ? `${text.slice(0, MOST_TEXT)}...` : text;
}
