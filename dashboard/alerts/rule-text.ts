/** A rule as a sentence. */
import { countText, durationText } from '../live/texts.ts';
import type { CheckedRule } from './rules.ts';

/** When a rule fires, in words. */
export function ruleText(rule: CheckedRule): string {
  const held = rule.for > 0 ? `; once this has lasted ${durationText(rule.for)}` : '';
  return `${conditionOf(rule)}${held}`;
}

function conditionOf(rule: CheckedRule): string {
  switch (rule.kind) {
    case 'oldest-age':
      return `the oldest job of ${queuesOf(rule)} waits for over ${durationText(rule.over)}`;
    case 'failure-rate':
      return `over ${rule.over * 100} % of at least ${rule.least} attempts of ${queuesOf(rule)} fail within ${durationText(rule.within)}`;
    case 'dead-letters':
      return `${queuesOf(rule)} has over ${countText(rule.over)} dead letters`;
    case 'dead-letter-growth':
      return `over ${countText(rule.over)} jobs of ${queuesOf(rule)} become dead letters within ${durationText(rule.within)}`;
    case 'missed-schedule':
      return `a tick of a schedule is ${durationText(rule.over)} overdue, or was missed within ${durationText(rule.within)}`;
    case 'silent-worker':
      return 'a worker is not heard of any more';
    case 'stream-lag':
      return `a group of ${rule.streams?.join(', ') ?? 'a stream'} has over ${countText(rule.over)} entries to read`;
  }
}

function queuesOf({ queues }: { queues?: readonly string[] | undefined }): string {
  return queues?.join(', ') ?? 'a queue';
}
