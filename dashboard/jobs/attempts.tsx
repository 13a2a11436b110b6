/** Attempts at a job, each with its error and what it logged; shown of jobs and of dead letters alike. */
import type { AttemptRecord } from 'millrace';
import { Stack } from '../dead-letters/stack.tsx';
import { Badge, CodeBlock, Duration, Empty, Panel, Time } from '../view/components.tsx';
import type { Tone } from '../view/values.tsx';

const TONES: Readonly<Record<AttemptRecord['outcome'], Tone>> = {
  failed: 'failed',
  timeout: 'failed',
  lost: 'failed',
  cancelled: 'paused',
  postponed: 'delayed',
  returned: 'waiting',
  unrecorded: 'plain',
};

/** More would make a page that nobody reads; a history keeps how it began and how it ended anyway. */
const MOST_SHOWN = 60;

/** `shownStack` stands on the page already: where the last attempt has the same one, it is folded. */
export function Attempts({
  attempts,
  omitted = 0,
  shownStack,
}: {
  attempts: readonly AttemptRecord[];
  omitted?: number;
  shownStack?: string;
}) {
  const shown = attempts.slice(-MOST_SHOWN);
  const left = omitted + attempts.length - shown.length;
  return (
    <Panel title="Attempts that did not succeed">
      {left > 0 && <p class="hint">{left} earlier attempts are not shown.</p>}
      {shown.length === 0 && <Empty>There is none.</Empty>}
      {shown.map((attempt, index) => (
        <Attempt
          key={index}
          attempt={attempt}
          isOpen={index === shown.length - 1 && attempt.error?.stack !== shownStack}
        />
      ))}
    </Panel>
  );
}

function Attempt({ attempt: record, isOpen }: { attempt: AttemptRecord; isOpen: boolean }) {
  const { attempt, since, outcome, startedAt, endedAt, worker, version, error, log } = record;
  const number = since === undefined ? `${attempt === 0 ? '' : attempt}` : `${since} to ${attempt}`;
  return (
    <article class="attempt">
      <h3>
        Attempt {number} <Badge tone={TONES[outcome]}>{outcome}</Badge>
      </h3>
      <dl class="facts">
        <dt>Started</dt>
        <dd>
          <Time at={startedAt} />
        </dd>
        <dt>Ran for</dt>
        <dd>
          <Duration ms={startedAt === undefined || endedAt === undefined ? undefined : endedAt - startedAt} />
        </dd>
        <dt>Worker</dt>
        <dd>{worker ?? '–'}</dd>
        <dt>Version</dt>
        <dd>{version ?? '–'}</dd>
        {error && <dt>Error</dt>}
        {error && <dd>{`${error.name}${error.code === undefined ? '' : ` (${error.code})`}: ${error.message}`}</dd>}
      </dl>
      {error && <Stack text={error.stack} open={isOpen} />}
      {log.length > 0 && <CodeBlock label="Log" text={log.join('\n')} />}
    </article>
  );
}
