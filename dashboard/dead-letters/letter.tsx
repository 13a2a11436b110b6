/** One dead letter: why it died, where it came from, and what redriving it will do. */
import type { DeadLetter } from 'millrace';
import { Attempts } from '../jobs/attempts.tsx';
import type { KnownContract } from '../jobs/contracts.ts';
import { ActionForm, Badge, Count, Json, Panel, Table, Time } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { Stack } from './stack.tsx';

/** What the page shows. */
export interface LetterParts {
  /** Without its secrets. */
  letter: DeadLetter;
  hasSecrets: boolean;
  contract: KnownContract | undefined;
  isPaused: boolean;
}

export function Letter(parts: LetterParts) {
  const { letter, hasSecrets } = parts;
  const { path, may } = useView();
  const fields = { queue: letter.queue };
  const to = letterPath(letter.id);
  return (
    <>
      <Panel
        title={`${letter.error.name}: ${letter.error.message.slice(0, 1_000)}`}
        actions={
          <>
            <ActionForm to={`${to}/redrive`} fields={fields} label="Redrive" tone="primary" />
            {may('operator') && (
              <a class="button" href={path(`${to}/edit?queue=${encodeURIComponent(letter.queue)}`)}>
                Edit and redrive
              </a>
            )}
            <ActionForm
              to={`${to}/discard`}
              fields={fields}
              label="Discard"
              tone="danger"
              confirm="Remove it for good? This cannot be taken back."
            />
          </>
        }
      >
        <Facts letter={letter} />
      </Panel>
      <Panel title="What redriving does">
        <Prospect {...parts} />
      </Panel>
      <Panel title="Input">
        {hasSecrets && <p class="hint">What its contract calls secret is masked.</p>}
        <Json label="Input" value={letter.input} />
      </Panel>
      <Panel title="Error">
        <Stack text={letter.error.stack} />
      </Panel>
      <Attempts attempts={letter.attempts ?? []} omitted={letter.omittedAttempts ?? 0} />
      {letter.history.length > 0 && <Lives letter={letter} />}
    </>
  );
}

export function letterPath(id: string): string {
  return `/dead-letters/letter/${encodeURIComponent(id)}`;
}

function Facts({ letter }: { letter: DeadLetter }) {
  const { path } = useView();
  return (
    <dl class="facts">
      <dt>Letter</dt>
      <dd>{letter.id}</dd>
      <dt>Job</dt>
      <dd>{letter.jobId}</dd>
      <dt>Contract</dt>
      <dd>{`${letter.contract}, version ${letter.version}`}</dd>
      <dt>Queue</dt>
      <dd>{letter.queue}</dd>
      <dt>Reason</dt>
      <dd>
        <Badge tone="failed">{letter.reason}</Badge>
      </dd>
      <dt>Cluster</dt>
      <dd>
        <a href={path(`/dead-letters?fingerprint=${encodeURIComponent(letter.fingerprint)}`)}>{letter.fingerprint}</a>
      </dd>
      <dt>Enqueued</dt>
      <dd>
        <Time at={letter.enqueuedAt} />
      </dd>
      <dt>First failed</dt>
      <dd>
        <Time at={letter.firstFailedAt} />
      </dd>
      <dt>Last failed</dt>
      <dd>
        <Time at={letter.lastFailedAt} />
      </dd>
      <dt>Died</dt>
      <dd>
        <Time at={letter.diedAt} />
      </dd>
      <dt>Redriven before</dt>
      <dd>
        <Count of={letter.redriven} />
      </dd>
    </dl>
  );
}

function Prospect({ letter, contract, isPaused }: LetterParts) {
  const { attempts = 1, priority } = letter.options;
  return (
    <ul>
      <li>{`The job ${letter.jobId} goes back to ${letter.queue} with ${attempts > 1 ? `${attempts} new attempts` : 'a new attempt'}, and this letter goes.`}</li>
      {priority !== undefined && priority > 0 && <li>{`It keeps its priority ${priority}.`}</li>}
      <li>Effects that once() has kept are not repeated.</li>
      {letter.options.deduplication && (
        <li>It is left here if another job has its unique or idempotency key by now.</li>
      )}
      {isPaused && <li>The queue is paused: it waits until that ends.</li>}
      {!contract && <li>No worker has told of its contract: it waits until one takes it.</li>}
      {contract && contract.version > letter.version && (
        <li>{`The contract is at version ${contract.version} now; the input is of version ${letter.version}.`}</li>
      )}
    </ul>
  );
}

function Lives({ letter }: { letter: DeadLetter }) {
  return (
    <Panel title="Earlier lives">
      <Table
        label="Earlier lives"
        rows={letter.history}
        rowKey={({ redrivenAt, deadAt }) => `${deadAt} ${redrivenAt}`}
        columns={[
          { head: 'Died', isTitle: true, cell: ({ deadAt }) => <Time at={deadAt} /> },
          { head: 'Redriven', cell: ({ redrivenAt }) => <Time at={redrivenAt} /> },
          { head: 'By', cell: ({ by }) => by ?? '–' },
          { head: 'From queue', cell: ({ queue }) => queue ?? '–' },
        ]}
      />
    </Panel>
  );
}
