/** How far an operation is. Without script the page loads itself again; with it, its progress is replaced in place (client/operation.js). */
import type { Skipped } from 'millrace';
import {
  ActionForm,
  Back,
  Badge,
  Count,
  Duration,
  Notice,
  Panel,
  Stat,
  Stats,
  Table,
  Time,
} from '../view/components.tsx';
import { useView } from '../view/context.ts';
import type { Tone } from '../view/values.tsx';
import { takesAdmin, type Operation, type OperationState, type Plan } from './operation.ts';
import { canGoOn } from './operations.ts';
import { skipText } from './skips.ts';
import { LetterTabs } from './tabs.tsx';

const TONES: Readonly<Record<OperationState, Tone>> = {
  running: 'active',
  done: 'completed',
  aborted: 'paused',
  stopped: 'failed',
  failed: 'failed',
  'cut-off': 'failed',
};

const RELOAD_AFTER_S = 2;

export function OperationList({ operations }: { operations: readonly Operation[] }) {
  const { path } = useView();
  return (
    <>
      <LetterTabs active="/dead-letters/operations" />
      <Table
        label="Operations"
        rows={operations}
        rowKey={({ id }) => id}
        empty="Nothing was redriven or discarded in the last week."
        columns={[
          {
            head: 'What',
            isTitle: true,
            cell: ({ id, plan }) => (
              <a href={path(`/dead-letters/operations/${id}`)}>
                {plan.kind} {plan.words}
              </a>
            ),
          },
          { head: 'State', cell: ({ state }) => <Badge tone={TONES[state]}>{state}</Badge> },
          { head: 'Done', align: 'end', cell: ({ progress }) => <Count of={progress.done} /> },
          { head: 'In all', align: 'end', cell: ({ progress }) => <Count of={progress.total} /> },
          { head: 'By', cell: ({ plan }) => plan.by },
          { head: 'Started', cell: ({ plan }) => <Time at={plan.startedAt} /> },
        ]}
      />
    </>
  );
}

export function OperationPage({ operation }: { operation: Operation }) {
  const { id, state, plan } = operation;
  const to = `/dead-letters/operations/${id}`;
  const isRunning = state === 'running';
  return (
    <>
      {isRunning && (
        <noscript>
          <meta http-equiv="refresh" content={String(RELOAD_AFTER_S)} />
        </noscript>
      )}
      <Back to="/dead-letters/operations">All operations</Back>
      <Panel
        title={plan.words}
        actions={
          <>
            {isRunning && <ActionForm to={`${to}/abort`} label="Abort" tone="danger" />}
            {canGoOn(operation) && (
              <ActionForm
                to={`${to}/again`}
                label="Start again"
                tone="primary"
                needs={takesAdmin(plan) ? 'admin' : 'operator'}
              />
            )}
          </>
        }
      >
        <div id="operation" class="operation" data-running={isRunning ? 'yes' : undefined}>
          <State operation={operation} />
        </div>
        <Facts plan={plan} />
      </Panel>
    </>
  );
}

function State({ operation: { state, plan, progress, note } }: { operation: Operation }) {
  const { done, total, skipped, elapsedMs, canary } = progress;
  const rate = elapsedMs > 0 ? (done * 1_000) / elapsedMs : 0;
  const leftOut = Object.values(skipped).reduce((sum, count) => sum + count, 0);
  const left = Math.max(0, total - done - leftOut);
  const isWorking = state === 'running' && progress.phase === 'working';
  return (
    <>
      {state === 'cut-off' && (
        <Notice tone="bad">
          {note ?? 'The process that worked on it is gone.'} What is still there can be started again; nothing moves
          twice.
        </Notice>
      )}
      {state !== 'cut-off' && note !== undefined && (
        <Notice tone={state === 'failed' || state === 'stopped' ? 'bad' : 'plain'}>{note}</Notice>
      )}
      <p>
        <Badge tone={TONES[state]}>{state === 'running' ? progress.phase : state}</Badge>
      </p>
      <progress max={Math.max(1, total)} value={Math.min(done, total)} aria-label="Done" />
      <Stats>
        <Stat label={plan.kind === 'redrive' ? 'Redriven' : 'Discarded'}>
          <Count of={done} />
        </Stat>
        <Stat label="In all">
          <Count of={total} />
        </Stat>
        <Stat label="Left where they are">
          <Count of={leftOut} />
        </Stat>
        <Stat label="A second">
          <span class="number">{rate >= 10 ? Math.round(rate) : rate.toFixed(1)}</span>
        </Stat>
        <Stat label="Still to go">
          <Duration ms={isWorking && rate > 0 ? (left / rate) * 1_000 : undefined} />
        </Stat>
      </Stats>
      {canary && (
        <p>{`Of the first ${canary.count}, ${canary.ended} have ended and ${canary.failed} have failed again.`}</p>
      )}
      {leftOut > 0 && (
        <ul>
          {Object.entries(skipped).map(([why, count]) => (
            <li key={why}>{`${count}: ${skipText({ why: why as Skipped['why'] })}`}</li>
          ))}
        </ul>
      )}
    </>
  );
}

function Facts({ plan }: { plan: Plan }) {
  return (
    <dl class="facts">
      <dt>By</dt>
      <dd>{plan.by}</dd>
      <dt>Started</dt>
      <dd>
        <Time at={plan.startedAt} />
      </dd>
      <dt>At most</dt>
      <dd>{plan.limit ?? 'all'}</dd>
      {plan.kind === 'redrive' && !plan.of && (
        <>
          <dt>Letters a second</dt>
          <dd>{plan.rate ?? 'as fast as it goes'}</dd>
          <dt>To the queue</dt>
          <dd>{plan.to ?? 'where each has died'}</dd>
        </>
      )}
      {plan.canary && (
        <>
          <dt>Trial</dt>
          <dd>
            {`the first ${plan.canary.count}, for ${plan.canary.waitMs / 1_000} s, of which ${plan.canary.maxShare * 100} % may fail`}
          </dd>
        </>
      )}
    </dl>
  );
}
