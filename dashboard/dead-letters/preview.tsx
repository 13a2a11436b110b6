/** What an action would do, before it does it: how many letters, of which queues, and how. */
import { Choice } from '../jobs/choice.tsx';
import { Button, Count, Field, Form, Notice, Panel, Table } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { countText } from '../live/texts.ts';
import { lettersText, listLink, type Asked } from './filter.ts';
import { TargetFields } from './list.tsx';

/** What a dry run has found. */
export interface Found {
  matched: number;
  queues: Readonly<Record<string, number>>;
  /** Whether the count came to its end; else it is a lower bound. */
  isWhole: boolean;
}

/** What is wrong with the fields of a start. */
export type StartFaults = Partial<Record<'limit' | 'rate' | 'first' | 'wait' | 'share', string>>;

/** What the page shows. */
export interface PreviewParts {
  kind: 'redrive' | 'discard';
  words: string;
  asked: Asked;
  ids: readonly string[];
  found: Found;
  queues: readonly string[];
  /** What was typed before. */
  given: (name: string) => string;
  faults: StartFaults;
}

export function Preview(parts: PreviewParts) {
  const { kind, words, asked, ids, found } = parts;
  const { path } = useView();
  const rows = Object.entries(found.queues);
  const many = `${found.isWhole ? '' : 'at least '}${countText(found.matched)} ${lettersText(found.matched)}`;
  return (
    <>
      <Notice tone={kind === 'discard' ? 'bad' : 'plain'}>
        {ids.length === 0 && `Meant are ${words}. `}
        {kind === 'discard'
          ? `This removes ${many} for good. It cannot be taken back.`
          : `This sends ${many} back. Their attempts begin anew; effects that once() has kept are not repeated.`}
        {!found.isWhole && ' The count was cut short; what fits is looked for anew when it starts.'}
      </Notice>
      <Panel title="Queues">
        <Table
          label="Queues"
          rows={rows}
          rowKey={([queue]) => queue}
          empty="No letter is there any more."
          columns={[
            { head: 'Queue', isTitle: true, cell: ([queue]) => queue },
            { head: 'Letters', align: 'end', cell: ([, count]) => <Count of={count} /> },
          ]}
        />
      </Panel>
      {found.matched > 0 && (
        <Form to="/dead-letters/act" kind="stack">
          <TargetFields asked={asked} ids={ids} />
          {kind === 'redrive' && <RedriveFields {...parts} />}
          <div class="actions">
            <Button name="act" value={`start-${kind}`} tone={kind === 'discard' ? 'danger' : 'primary'}>
              {kind === 'discard' ? `Discard ${many} for good` : 'Start the redrive'}
            </Button>
            <a class="button quiet" href={path(listLink(asked))}>
              Leave it
            </a>
          </div>
        </Form>
      )}
    </>
  );
}

function RedriveFields({ queues, given, faults }: PreviewParts) {
  return (
    <>
      <Field
        label="At most"
        name="limit"
        type="number"
        min={1}
        value={given('limit')}
        hint="The oldest first. Empty for all."
        error={faults.limit}
      />
      <Field
        label="Letters a second"
        name="rate"
        type="number"
        min={0}
        step="any"
        value={given('rate')}
        hint="Empty for as fast as it goes."
        error={faults.rate}
      />
      <Choice
        label="To the queue"
        name="toQueue"
        value={given('toQueue')}
        choices={queues}
        none="where each has died"
        hint="Empty for where each has died."
      />
      <fieldset class="group">
        <legend>Try some first</legend>
        <Field
          label="So many first"
          name="first"
          type="number"
          min={1}
          max={100}
          value={given('first')}
          hint="Empty for no trial."
          error={faults.first}
        />
        <Field
          label="Seconds to wait for them"
          name="wait"
          type="number"
          min={1}
          value={given('wait')}
          hint="Default 60. None that has ended by then stops it."
          error={faults.wait}
        />
        <Field
          label="Percent that may fail"
          name="share"
          type="number"
          min={0}
          max={100}
          step="any"
          value={given('share')}
          hint="Default 0: a single failed attempt of them stops it."
          error={faults.share}
        />
      </fieldset>
    </>
  );
}
