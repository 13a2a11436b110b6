/** What a rule finds in a look: each queue, schedule, worker or group for which its condition holds now. */
import type { WorkerInfo } from 'millrace';
import { shareText } from '../live/cells.ts';
import { ended, type Look } from '../live/look.ts';
import { countText, durationText } from '../live/texts.ts';
import { fits, type CheckedRule } from './rules.ts';

/** A condition that holds. */
export interface Observation {
  /** Of which thing, in words: `queue email`. */
  readonly subject: string;
  /** The same for programs. */
  readonly labels: Readonly<Record<string, string>>;
  /** What was found, as a sentence. */
  readonly text: string;
  readonly value: number;
}

/** Things for which one rule may hold at once; more of them say no more. The same ones each time, by name. */
const MOST_SUBJECTS = 100;

/** The conditions of a rule that hold. */
export function observe(rule: CheckedRule, look: Look): Observation[] {
  const all = find(rule, look);
  if (all.length <= MOST_SUBJECTS) return all;
  return all.toSorted((one, other) => one.subject.localeCompare(other.subject)).slice(0, MOST_SUBJECTS);
}

/** Whether a thing is there and the look cannot tell of it what the rule asks. */
export function isUnseen(rule: CheckedRule, look: Look, { queue, stream }: Observation['labels']): boolean {
  if (stream !== undefined) return look.unseen.streams.has(stream);
  if (queue === undefined) return false;
  if (look.unseen.queues.has(queue)) return true;
  return isUnrated(rule, queue, look) && look.queues.some((one) => one.queue === queue);
}

/** How many queues and streams there are that a rule is about and the look cannot judge. */
export function unjudged(rules: readonly CheckedRule[], look: Look): { queues: number; streams: number } {
  const names = [...look.unseen.queues, ...look.queues.map(({ queue }) => queue)];
  const queues = names.filter((queue) =>
    rules.some((rule) => isOfQueue(rule, queue) && (look.unseen.queues.has(queue) || isUnrated(rule, queue, look))),
  );
  const streams = [...look.unseen.streams].filter((stream) => rules.some((rule) => isOfStream(rule, stream)));
  return { queues: queues.length, streams: streams.length };
}

/** Whether a rule needs what was run of a queue. */
export function rates(rule: CheckedRule, queue: string): boolean {
  return (rule.kind === 'failure-rate' || rule.kind === 'dead-letter-growth') && fits(queue, rule.queues);
}

/** Whether a rule is about a stream. */
export function isOfStream(rule: CheckedRule, stream: string): boolean {
  return rule.kind === 'stream-lag' && fits(stream, rule.streams);
}

function isOfQueue(rule: CheckedRule, queue: string): boolean {
  return (
    rates(rule, queue) || ((rule.kind === 'oldest-age' || rule.kind === 'dead-letters') && fits(queue, rule.queues))
  );
}

function isUnrated(rule: CheckedRule, queue: string, { recent }: Look): boolean {
  return rates(rule, queue) && !recent.has(queue);
}

function find(rule: CheckedRule, look: Look): Observation[] {
  switch (rule.kind) {
    case 'oldest-age':
      return queuesOf(rule, look, ({ oldestAgeMs = 0 }) =>
        oldestAgeMs > rule.over
          ? found(oldestAgeMs, `The oldest job has waited for ${durationText(oldestAgeMs)}.`)
          : [],
      );
    case 'dead-letters':
      return queuesOf(rule, look, ({ counts: { dead } }) =>
        dead > rule.over ? found(dead, `${countText(dead)} dead letters.`) : [],
      );
    case 'failure-rate':
      return queuesOf(rule, look, ({ queue }) => {
        const { completed, failed } = ended(look.recent.get(queue) ?? [], look.at - rule.within);
        const share = failed / Math.max(1, completed + failed);
        if (completed + failed < rule.least || share <= rule.over) return [];
        const text = `${shareText(share)} of ${countText(completed + failed)} attempts failed in ${durationText(rule.within)}.`;
        return found(share, text);
      });
    case 'dead-letter-growth':
      return queuesOf(rule, look, ({ queue }) => {
        const { dead } = ended(look.recent.get(queue) ?? [], look.at - rule.within);
        const text = `${countText(dead)} jobs became dead letters in ${durationText(rule.within)}.`;
        return dead > rule.over ? found(dead, text) : [];
      });
    case 'missed-schedule':
      return look.schedules.flatMap(({ id, overdueMs, lastMissedAt = 0 }) => {
        const isMissed = look.at - lastMissedAt < rule.within;
        if (!isMissed && overdueMs <= rule.over) return [];
        const text = isMissed
          ? `A tick was missed ${durationText(look.at - lastMissedAt)} ago.`
          : `Its tick is ${durationText(overdueMs)} overdue: no worker sees to schedules.`;
        return { subject: `schedule ${id}`, labels: { schedule: id }, text, value: overdueMs };
      });
    case 'silent-worker':
      return look.workers.filter(({ state }) => state === 'silent').map((worker) => silent(worker, look.at));
    case 'stream-lag':
      return look.streams.flatMap(({ name: stream, groups }) =>
        groups.flatMap(({ name: group, lag }) =>
          fits(stream, rule.streams) && lag > rule.over
            ? {
                subject: `group ${group} of ${stream}`,
                labels: { stream, group },
                text: `${countText(lag)} entries are not read.`,
                value: lag,
              }
            : [],
        ),
      );
  }
}

type Found = Pick<Observation, 'text' | 'value'>;

function found(value: number, text: string): Found[] {
  return [{ value, text }];
}

function queuesOf(
  { queues }: { queues?: readonly string[] | undefined },
  look: Look,
  test: (queue: Look['queues'][number]) => Found[],
): Observation[] {
  return look.queues
    .filter(({ queue }) => fits(queue, queues))
    .flatMap((snapshot) =>
      test(snapshot).map((one) => ({ subject: `queue ${snapshot.queue}`, labels: { queue: snapshot.queue }, ...one })),
    );
}

function silent({ id, host, pid, seenAt, running }: WorkerInfo, at: number): Observation {
  return {
    subject: `worker ${host}:${pid} (${id.slice(0, 8)})`,
    labels: { worker: id, host },
    text: `Not heard of for ${durationText(at - seenAt)}; it ran ${countText(running.length)} jobs.`,
    value: at - seenAt,
  };
}
