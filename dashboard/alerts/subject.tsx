/** What an alert is about, with the way to the page that shows more of it. */
import { segment } from '../fleet/links.ts';
import { useView } from '../view/context.ts';
import type { CheckedRule } from './rules.ts';
import type { AlertState } from './states.ts';

export function Subject({
  alert: { rule, subject },
  state,
  rules,
}: {
  alert: Pick<AlertState, 'rule' | 'subject'>;
  state: AlertState | undefined;
  rules: readonly CheckedRule[];
}) {
  const { path } = useView();
  const kind = rules.find(({ name }) => name === rule)?.kind;
  const to = state && pathOf(kind, state.labels);
  return to === undefined ? <>{subject}</> : <a href={path(to)}>{subject}</a>;
}

function pathOf(kind: CheckedRule['kind'] | undefined, labels: AlertState['labels']): string | undefined {
  const { queue, schedule, worker, stream } = labels;
  if (worker !== undefined) return `/fleet/workers/${segment(worker)}`;
  if (stream !== undefined) return `/streams/${segment(stream)}`;
  if (schedule !== undefined) return `/fleet/schedules?text=${encodeURIComponent(schedule)}`;
  if (queue === undefined) return undefined;
  const isOfLetters = kind === 'dead-letters' || kind === 'dead-letter-growth';
  return isOfLetters ? `/dead-letters?queue=${encodeURIComponent(queue)}` : `/charts/${segment(queue)}`;
}
