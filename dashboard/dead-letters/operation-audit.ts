/** Operations in the audit: the start tells what is meant, the end counts what was done. */
import type { Response } from 'express';
import type { ActionParts } from './actions.tsx';
import type { Plan } from './operation.ts';
import type { OnEnd } from './operations.ts';

/** What the audit calls it. */
export function actionOf({ kind, of }: Pick<Plan, 'kind' | 'of'>): string {
  return `${of ? 'stream-dead-letters' : 'dead-letters'}.${kind}`;
}

/** Writes down how it has ended, in the name of whoever has started it. */
export function auditEnd({ desk, changed }: ActionParts, response: Response, plan: Omit<Plan, 'startedAt'>): OnEnd {
  return async ({ state, note }, { done }) => {
    changed();
    const detail = `ended: ${state}${note === undefined ? '' : `, ${note}`}`;
    const outcome = state === 'failed' ? 'failed' : 'done';
    await desk.audit(response, { action: actionOf(plan), target: plan.words, count: done, detail, outcome });
  };
}
