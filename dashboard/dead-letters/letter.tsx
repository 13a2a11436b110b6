/** One dead letter: why it died, where it came from, and what redriving it will do. */
import type { DeadLetter } from 'millrace';
import { Attempts } from '../jobs/attempts.tsx';
import { Input } from '../jobs/input.tsx';
import type { KnownContract } from '../jobs/contracts.ts';
import { Back, Panel, Table, Time } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import type { Fact } from '../view/facts.tsx';
import { LetterHead } from './letter-head.tsx';
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
  return (
    <>
      <Back to="/dead-letters">All dead letters</Back>
      <LetterHead
        letter={letter}
        to={letterPath(letter.id)}
        fields={{ queue: letter.queue }}
        facts={factsOf(letter, path)}
        actions={
          may('operator') && (
            <a class="button" href={path(editPath(letter))}>
              Edit and redrive
            </a>
          )
        }
      />
      <Panel title="What redriving does">
        <Prospect {...parts} />
      </Panel>
      <Input value={letter.input} hasSecrets={hasSecrets} />
      <Panel title="Error">
        <Stack text={letter.error.stack} />
      </Panel>
      <Attempts
        attempts={letter.attempts ?? []}
        omitted={letter.omittedAttempts ?? 0}
        shownStack={letter.error.stack}
      />
      {letter.history.length > 0 && <Lives letter={letter} />}
    </>
  );
}

export function letterPath(id: string): string {
  return `/dead-letters/letter/${encodeURIComponent(id)}`;
}

function editPath({ id, queue }: DeadLetter): string {
  return `${letterPath(id)}/edit?queue=${encodeURIComponent(queue)}`;
}

function factsOf(letter: DeadLetter, path: (to: string) => string): Fact[] {
  const { id, jobId, contract, version, queue, fingerprint, enqueuedAt, firstFailedAt, lastFailedAt } = letter;
  const cluster = path(`/dead-letters?fingerprint=${encodeURIComponent(fingerprint)}`);
  return [
    ['Letter', id],
    ['Job', jobId],
    ['Contract', `${contract}, version ${version}`],
    ['Queue', <a href={path(`/queues/queue/${encodeURIComponent(queue)}`)}>{queue}</a>],
    ['Cluster', <a href={cluster}>{fingerprint}</a>],
    ['Enqueued', <Time at={enqueuedAt} />],
    ['First failed', <Time at={firstFailedAt} />],
    ['Last failed', <Time at={lastFailedAt} />],
  ];
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
