/** One job: every fact, its input and result, its attempts, and what can be done with it. */
import type { JobInfo, JobState } from 'millrace';
import { ActionForm, Back, Badge, CodeBlock, Duration, Json, Panel, Time } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { Facts, type Fact } from '../view/facts.tsx';
import type { Tone } from '../view/values.tsx';
import { Attempts } from './attempts.tsx';
import type { KnownContract } from './contracts.ts';
import { enqueuePath } from './enqueue-path.ts';
import { CopyButton } from './enqueue-routes.tsx';
import type { Family } from './family.ts';
import { Input } from './input.tsx';

/** What the page shows. */
export interface JobParts {
  /** Without its secrets. */
  job: JobInfo;
  family: Family;
  hasSecrets: boolean;
  contract: KnownContract | undefined;
}

/** The colours of the states. */
export const STATE_TONES: Readonly<Record<JobState, Tone>> = {
  waiting: 'waiting',
  delayed: 'delayed',
  prioritized: 'prioritized',
  'waiting-children': 'waiting-children',
  active: 'active',
  completed: 'completed',
  failed: 'failed',
  cancelled: 'paused',
  unknown: 'plain',
};

/** The states in which cancelling does something. */
const OPEN: ReadonlySet<JobState> = new Set(['waiting', 'delayed', 'prioritized', 'waiting-children', 'active']);

export function JobPage(parts: JobParts) {
  const { job, family, hasSecrets } = parts;
  const { path } = useView();
  return (
    <>
      <Back to="/jobs">All jobs</Back>
      <Panel title={job.name} actions={<Actions {...parts} />}>
        <Facts of={factsOf(job, path)} />
        {(family.parent !== undefined || family.children.length > 0) && <FamilyList family={family} />}
      </Panel>
      <Input value={job.input} hasSecrets={hasSecrets} />
      {job.progress !== undefined && <Json label="Progress" value={job.progress} />}
      {'result' in job && <Json label="Result" value={job.result} />}
      {job.log.length > 0 && <CodeBlock label="Log" text={job.log.join('\n')} open />}
      <Attempts attempts={job.history} />
    </>
  );
}

function Actions({ job: { id, state, version }, contract }: JobParts) {
  const { path, may } = useView();
  const to = `/jobs/${encodeURIComponent(id)}`;
  return (
    <>
      {OPEN.has(state) && <ActionForm to={`${to}/cancel`} label="Cancel" tone="danger" confirm="Cancel the job?" />}
      {state === 'delayed' && <ActionForm to={`${to}/retry`} label="Run now" />}
      {(state === 'completed' || state === 'failed') && (
        <ActionForm
          to={`${to}/retry`}
          label="Run again"
          confirm="Run it again? Effects that once() has kept are not repeated."
        />
      )}
      {contract?.version === version && state !== 'cancelled' && (
        <>
          <CopyButton id={id} />
          {may('operator') && (
            <a class="button" href={path(enqueuePath(contract, { copy: id }))}>
              Edit and enqueue
            </a>
          )}
        </>
      )}
    </>
  );
}

function factsOf(job: JobInfo, path: (to: string) => string): Fact[] {
  const { id, state, queue, version, attemptsMade, attempts, enqueuedAt, startedAt, finishedAt, worker, reason } = job;
  const ranMs = startedAt !== undefined && finishedAt !== undefined ? finishedAt - startedAt : undefined;
  return [
    ['Id', id],
    ['State', <Badge tone={STATE_TONES[state]}>{state}</Badge>],
    ['Queue', <a href={path(`/queues/queue/${encodeURIComponent(queue)}`)}>{queue}</a>],
    ['Version', version],
    ['Attempts', `${attemptsMade} of ${Math.max(1, attempts)}`],
    ['Enqueued', <Time at={enqueuedAt} />],
    ['Last started', <Time at={startedAt} />],
    ['Finished', <Time at={finishedAt} />],
    ['Ran for', <Duration ms={ranMs} />],
    ['Worker', worker ?? '–'],
    ...(reason === undefined ? [] : [['Reason', reason.slice(0, 2_000)] as const]),
  ];
}

function FamilyList({ family: { parent, children } }: { family: Family }) {
  const { path } = useView();
  const link = (id: string) => <a href={path(`/jobs/${encodeURIComponent(id)}`)}>{id}</a>;
  return (
    <dl class="facts">
      {parent !== undefined && <dt>Parent</dt>}
      {parent !== undefined && <dd>{link(parent)}</dd>}
      {children.length > 0 && <dt>Children</dt>}
      {children.map(({ id, state }) => (
        <dd key={id}>
          {link(id)} {state}
        </dd>
      ))}
    </dl>
  );
}
