/** Figures of a worker process and of the jobs that it runs, as its table and its own page show them. */
import type { WorkerInfo } from 'millrace';
import { WORKER_TONES } from '../live/cells.ts';
import { LiveBadge, LiveText } from '../live/marks.tsx';
import { durationText, sizeText } from '../live/texts.ts';
import { Count, Time } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { segment } from './links.ts';

export function ProcessName({ worker: { id, host, pid } }: { worker: WorkerInfo }) {
  const { path } = useView();
  return (
    <a href={path(`/fleet/workers/${segment(id)}`)}>
      {host} {pid}
    </a>
  );
}

export function State({ worker: { id, state } }: { worker: WorkerInfo }) {
  return (
    <LiveBadge name={`worker:${id}:state`} tone={WORKER_TONES[state]}>
      {state}
    </LiveBadge>
  );
}

export function Busy({ worker }: { worker: WorkerInfo }) {
  const { active, concurrency } = busyOf(worker);
  return (
    <LiveText name={`worker:${worker.id}:active`} isZero={active === 0}>
      {`${active} of ${concurrency}`}
    </LiveText>
  );
}

export function Lateness({ worker: { id, eventLoopLagMs } }: { worker: WorkerInfo }) {
  return <LiveText name={`worker:${id}:lag`}>{durationText(eventLoopLagMs)}</LiveText>;
}

export function Memory({ worker: { id, rssBytes } }: { worker: WorkerInfo }) {
  return <LiveText name={`worker:${id}:memory`}>{sizeText(rssBytes)}</LiveText>;
}

export function Seen({ worker: { id, seenAt } }: { worker: WorkerInfo }) {
  const { now } = useView();
  return <LiveText name={`worker:${id}:seen`}>{`${durationText(Math.max(0, now - seenAt))} ago`}</LiveText>;
}

/** Of all that it works on. */
export function busyOf({ queues, consumers }: WorkerInfo): { active: number; concurrency: number } {
  const places = [...queues, ...consumers];
  return {
    active: places.reduce((sum, { active }) => sum + active, 0),
    concurrency: places.reduce((sum, { concurrency }) => sum + concurrency, 0),
  };
}

export function lastTaken(queues: WorkerInfo['queues']): number | undefined {
  const times = queues.flatMap(({ lastTakenAt }) => lastTakenAt ?? []);
  return times.length === 0 ? undefined : Math.max(...times);
}

type RunningJob = WorkerInfo['running'][number];

export const JOB_COLUMNS = [
  { head: 'Job', isTitle: true, cell: ({ job }: { job: RunningJob }) => <JobLink job={job} /> },
  { head: 'Contract', cell: ({ job }: { job: RunningJob }) => job.name },
  { head: 'Queue', cell: ({ job }: { job: RunningJob }) => job.queue },
  { head: 'Attempt', align: 'end' as const, cell: ({ job }: { job: RunningJob }) => <Count of={job.attempt} /> },
  { head: 'Began', cell: ({ job }: { job: RunningJob }) => <Time at={job.startedAt} /> },
];

function JobLink({ job: { id } }: { job: RunningJob }) {
  const { path } = useView();
  return <a href={path(`/jobs/${segment(id)}`)}>{id}</a>;
}
