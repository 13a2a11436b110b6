/**
 * What becomes of an alert when time passes: a pure function of what was known, what is observed, and the server's clock.
 *
 *   (none) --observed--> pending --observed for `for`--> firing --not observed for `clear`--> resolved (none)
 *                           |                              |
 *                           '--not observed--> (none)      '--observed again before--> firing
 *
 * What could not be seen is neither: its alerts stay as they are until it is seen again.
 *
 * A notice is owed from when an alert fires until somebody was told, or it is resolved; to who was told that it fires, one is owed that it is
 * resolved. While its rule is silenced nobody is told, and it stays owed.
 */
import { z } from 'zod';
import type { Observation } from './observe.ts';
import type { CheckedRule } from './rules.ts';

const stateSchema = z.object({
  id: z.string(),
  rule: z.string(),
  severity: z.enum(['warning', 'critical']),
  subject: z.string(),
  labels: z.record(z.string(), z.string()),
  text: z.string(),
  value: z.number(),
  state: z.enum(['pending', 'firing']),
  /** When its condition began to hold. */
  since: z.number(),
  /** When it began to fire. */
  firedAt: z.number().optional(),
  /** When its condition ceased to hold; undefined while it holds. */
  quietSince: z.number().optional(),
  /** Whether a notice of it was handed over. */
  isTold: z.boolean(),
});

/** An alert that is pending or fires. */
export type AlertState = z.output<typeof stateSchema>;

/** What Redis keeps of an alert; undefined of one that has another form. */
export function readState(json: string): AlertState | undefined {
  try {
    return stateSchema.safeParse(JSON.parse(json)).data;
  } catch {
    return undefined; // Not one of ours.
  }
}

/** The name of an alert: one of a rule and a subject. */
export function alertId(rule: string, subject: string): string {
  return `${rule}:${subject}`;
}

/** What follows. */
export interface Step {
  /** All alerts from now on. */
  readonly states: Map<string, AlertState>;
  /** Those that have ended now. Pending ones that ended are not among them. */
  readonly resolved: AlertState[];
}

/** What was found out by a rule. */
export interface Judged {
  readonly rule: CheckedRule;
  readonly observations: readonly Observation[];
  /** Whether the thing of an alert could not be seen. Default: all could. */
  readonly isUnseen?: (labels: AlertState['labels']) => boolean;
}

/** What becomes of the alerts with the observations of a moment. */
export function step(known: ReadonlyMap<string, AlertState>, rules: readonly Judged[], now: number): Step {
  const states = new Map<string, AlertState>();
  const judges = new Map(rules.map((judged) => [judged.rule.name, judged]));
  for (const { rule, observations } of rules) {
    for (const observation of observations) {
      const id = alertId(rule.name, observation.subject);
      states.set(id, observed(known.get(id), rule, { ...observation }, id, now));
    }
  }
  const resolved: AlertState[] = [];
  for (const [id, alert] of known) {
    if (states.has(id)) continue;
    const { rule, isUnseen } = judges.get(alert.rule) ?? {};
    if (isUnseen?.(alert.labels)) {
      states.set(id, alert);
      continue;
    }
    if (alert.state === 'pending') continue;
    const quietSince = alert.quietSince ?? now;
    // The alerts of a rule that is not there any more end at once.
    if (now - quietSince >= (rule?.clear ?? 0)) resolved.push({ ...alert, quietSince });
    else states.set(id, { ...alert, quietSince });
  }
  return { states, resolved };
}

function observed(
  known: AlertState | undefined,
  rule: CheckedRule,
  { subject, labels, text, value }: Observation,
  id: string,
  now: number,
): AlertState {
  const { name, severity } = rule;
  const since = known?.since ?? now;
  const fires = known?.state === 'firing' || now - since >= rule.for;
  return {
    id,
    rule: name,
    severity,
    subject,
    labels: { ...labels },
    text,
    value,
    state: fires ? 'firing' : 'pending',
    since,
    ...(fires && { firedAt: known?.firedAt ?? now }),
    isTold: known?.isTold ?? false,
  };
}
