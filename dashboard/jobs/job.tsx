/** One job: every fact, its input and result, its attempts, and what can be done with it. */
import type { JobInfo, JobState } from 'millrace';
import { ActionForm, Badge, CodeBlock, Duration, Json, Panel, Time } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import type { Tone } from '../view/values.tsx';
import { Attempts } from './attempts.tsx';
import type { KnownContract } from './contracts.ts';
import { CopyButton } from './enqueue-routes.tsx';
import type { Family } from './family.ts';

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
  return (
    <>
      <Panel title={job.name} actions={<Actions {...parts} />}>
        <Facts job={job} />
        {(family.parent !== undefined || family.children.length > 0) && <FamilyList family={family} />}
      </Panel>
      <Panel title="Input">
        {hasSecrets && <p class="hint">What its contract calls secret is masked.</p>}
        <Json label="Input" value={job.input} />
      </Panel>
      {job.progress !== undefined && <Json label="Progress" value={job.progress} />}
      {'result' in job && <Json label="Result" value={job.result} />}
      {job.log.length > 0 && <CodeBlock label="Log" text={job.log.join('\n')} open />}
      <Attempts attempts={job.history} />
    </>
  );
}

function Actions({ job: { id, name, state, version }, contract }: JobParts) {
  const { path, may } = useView();
  const to = `/jobs/${encodeURIComponent(id)}`;
  const copy = new URLSearchParams({ contract: name, version: String(version), copy: id });
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
            <a class="button" href={path(`/jobs/enqueue?${copy}`)}>
              Edit and enqueue
            </a>
          )}
        </>
      )}
    </>
  );
}

function Facts({ job }: { job: JobInfo }) {
  const ranMs =
    job.startedAt !== undefined && job.finishedAt !== undefined ? job.finishedAt - job.startedAt : undefined;
  return (
    <dl class="facts">
      <dt>Id</dt>
      <dd>{job.id}</dd>
      <dt>State</dt>
      <dd>
        <Badge tone={STATE_TONES[job.state]}>{job.state}</Badge>
      </dd>
      <dt>Queue</dt>
      <dd>{job.queue}</dd>
      <dt>Version</dt>
      <dd>{job.version}</dd>
      <dt>Attempts</dt>
      <dd>{`${job.attemptsMade} of ${Math.max(1, job.attempts)}`}</dd>
      <dt>Enqueued</dt>
      <dd>
        <Time at={job.enqueuedAt} />
      </dd>
      <dt>Last started</dt>
      <dd>
        <Time at={job.startedAt} />
      </dd>
      <dt>Finished</dt>
      <dd>
        <Time at={job.finishedAt} />
      </dd>
      <dt>Ran for</dt>
      <dd>
        <Duration ms={ranMs} />
      </dd>
      <dt>Worker</dt>
      <dd>{job.worker ?? '–'}</dd>
      {job.reason !== undefined && <dt>Reason</dt>}
      {job.reason !== undefined && <dd>{job.reason.slice(0, 2_000)}</dd>}
    </dl>
  );
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
