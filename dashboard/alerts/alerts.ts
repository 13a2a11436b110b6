/**
 * The alerts of a dashboard: judged by the collector with each look, told by a job, shown on a page.
 *
 * Promise: whatever process collects, an alert fires once, and its notices are enqueued once: see book.ts. A collector that has lost its lease
 * writes nothing, as its fence is refused. What cannot be judged, because it could not be looked at, neither fires nor is resolved.
 */
import { type Lock, type Logger, type Platform, type Worker } from 'millrace';
import type { Desk, Running } from '../desk.ts';
import type { Look, Watched } from '../live/look.ts';
import type { Verdict } from '../live/collector.ts';
import { MOST_FIRING, type FiringAlert } from '../live/snapshot.ts';
import { AlertBook, type AlertEvent, type Kept } from './book.ts';
import { alertJob, type AlertNotice } from './notice.ts';
import { isOfStream, isUnseen, observe, rates, unjudged } from './observe.ts';
import type { CheckedAlerts, CheckedWebhook } from './options.ts';
import { longestWithin, type CheckedRule } from './rules.ts';
import { step, type AlertState, type Judged } from './states.ts';
import { alertHandler } from './webhook.ts';

const RESOURCE = 'dashboard.alerts';

export class Alerts implements Running {
  readonly book: AlertBook;
  readonly #desk: Desk;
  readonly #platform: Platform;
  readonly #log: Logger;
  readonly #options: CheckedAlerts | undefined;
  #worker: Worker | undefined;
  /** Notices that could not be enqueued are logged once, until one could. */
  #isUntold = false;

  constructor(desk: Desk) {
    const { platform, log, options } = desk;
    this.#desk = desk;
    this.#platform = platform;
    this.#log = log;
    this.#options = options.alerts === false ? undefined : options.alerts;
    this.book = new AlertBook(platform);
  }

  get isOn(): boolean {
    return this.#options !== undefined;
  }

  get rules(): readonly CheckedRule[] {
    return this.#options?.rules ?? [];
  }

  get webhook(): CheckedWebhook | undefined {
    return this.#options?.webhook;
  }

  /** Whether somebody is told. */
  get isTold(): boolean {
    return this.webhook !== undefined || this.#options?.deliver === false;
  }

  /** What the rules are about. */
  get watched(): Watched {
    const { rules } = this;
    return {
      recentMs: longestWithin(rules),
      rates: (queue) => rules.some((rule) => rates(rule, queue)),
      stream: (stream) => rules.some((rule) => isOfStream(rule, stream)),
    };
  }

  /** Delivers notices from now on. */
  async start(): Promise<void> {
    const { webhook, deliver = true } = this.#options ?? {};
    if (!webhook || !deliver) return;
    this.#worker = await this.#platform.work({ handlers: [alertHandler(webhook)], concurrency: 2, drainFor: '5s' });
  }

  async stop(): Promise<void> {
    await this.#worker?.stop();
  }

  /** Judges a look: for the one who collects, with its lock. */
  async judge(look: Look, lock: Lock): Promise<Verdict | undefined> {
    if (!this.isOn) return undefined;
    const kept = await this.book.read();
    const judged = this.rules.map((rule): Judged => {
      return { rule, observations: observe(rule, look), isUnseen: (labels) => isUnseen(rule, look, labels) };
    });
    const { states, resolved } = step(kept.states, judged, look.at);
    const owed = this.isTold ? this.#noticesOf(states, resolved, kept, look.at) : [];
    const set = [...states.values()].filter((state) => !isSame(state, kept.states.get(state.id)));
    const remove = [...kept.states.keys()].filter((id) => !states.has(id));
    const fence = this.#platform.locks.fence(RESOURCE);
    if (set.length + remove.length > 0) {
      if (!(await fence.check(lock.token)).accepted) return undefined;
      await this.book.write({ set, remove, owed, events: eventsOf(set, resolved, kept, look.at) });
    }
    await this.#tell([...kept.owed.values(), ...owed]);
    return { alerts: firingOf({ ...kept, states }), unjudged: unjudged(this.rules, look) };
  }

  /** A notice that says that notices arrive. */
  async test(by: string): Promise<void> {
    const now = await this.book.now();
    const alert = { rule: 'test', severity: 'warning', subject: 'test', labels: {}, value: 0 } as const;
    const text = `${by} tests whether notices arrive. Nothing is wrong.`;
    await this.#platform.jobs.enqueue(
      alertJob,
      this.#notice('test', { ...alert, text, since: now }, `test@${now}`, now),
    );
  }

  /** The notices that are owed from now on, with their alerts marked as told. */
  #noticesOf(states: Map<string, AlertState>, resolved: readonly AlertState[], kept: Kept, now: number): AlertNotice[] {
    const isSilenced = (rule: string): boolean => (kept.silences.get(rule)?.until ?? 0) > now;
    const notices: AlertNotice[] = [];
    for (const [id, state] of states) {
      if (state.state !== 'firing' || state.isTold || isSilenced(state.rule)) continue;
      states.set(id, { ...state, isTold: true });
      notices.push(this.#notice('firing', state, `${id}@${state.firedAt}`, now));
    }
    for (const state of resolved)
      if (state.isTold) notices.push(this.#notice('resolved', state, `${state.id}@${state.firedAt}:resolved`, now));
    return notices;
  }

  #notice(
    status: AlertNotice['status'],
    alert: Pick<AlertState, 'rule' | 'severity' | 'subject' | 'labels' | 'text' | 'value' | 'since'>,
    id: string,
    now: number,
  ): AlertNotice {
    const { rule, severity, subject, labels, text, value, since } = alert;
    const { environment, url } = this.#desk.options;
    return {
      id,
      status,
      rule,
      severity,
      subject,
      labels,
      text,
      value,
      since: new Date(since).toISOString(),
      at: new Date(now).toISOString(),
      ...(environment !== undefined && { environment }),
      ...(url !== undefined && { link: `${url}/alerts` }),
    };
  }

  /** Makes jobs of what is owed. What cannot be enqueued stays owed. */
  async #tell(notices: readonly AlertNotice[]): Promise<void> {
    for (const notice of notices) {
      try {
        await this.#platform.jobs.enqueue(alertJob, notice, { idempotencyKey: notice.id });
        await this.book.crossOut(notice.id);
        this.#isUntold = false;
      } catch (error) {
        if (!this.#isUntold)
          this.#log.error({ err: error, notice: notice.id }, 'a notice could not be enqueued; tried again');
        this.#isUntold = true;
      }
    }
  }
}

/** What fires, the worst and newest first. */
export function firingOf({ states, acknowledged }: Pick<Kept, 'states' | 'acknowledged'>): FiringAlert[] {
  const firing = [...states.values()].filter(({ state }) => state === 'firing');
  return firing
    .toSorted(
      (one, other) =>
        Number(other.severity === 'critical') - Number(one.severity === 'critical') || other.since - one.since,
    )
    .slice(0, MOST_FIRING)
    .map(({ id, rule, severity, subject, text, since, firedAt = since }) => {
      // One that came when the alert had just been resolved is of the last one, not of this one.
      const { by, at = 0 } = acknowledged.get(id) ?? {};
      return {
        id,
        rule,
        severity,
        subject,
        text,
        since,
        ...(by !== undefined && at >= firedAt && { acknowledgedBy: by }),
      };
    });
}

function eventsOf(set: readonly AlertState[], resolved: readonly AlertState[], kept: Kept, at: number): AlertEvent[] {
  const fired = set.filter(({ id, state }) => state === 'firing' && kept.states.get(id)?.state !== 'firing');
  const event = (what: AlertEvent['what'], { rule, severity, subject, text }: AlertState): AlertEvent => ({
    at,
    what,
    rule,
    severity,
    subject,
    text,
  });
  return [...fired.map((state) => event('fired', state)), ...resolved.map((state) => event('resolved', state))];
}

function isSame(one: AlertState, other: AlertState | undefined): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

const all = new WeakMap<Desk, Alerts>();

/** The alerts of a dashboard, the same for all its pages. */
export function alertsOf(desk: Desk): Alerts {
  const known = all.get(desk);
  if (known) return known;
  const alerts = new Alerts(desk);
  all.set(desk, alerts);
  return alerts;
}
