/** Rules: what they find, when they fire and are resolved, and what Prometheus is given of them. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { firingOf } from '../../dashboard/alerts/alerts.ts';
import { isUnseen, observe, unjudged, type Observation } from '../../dashboard/alerts/observe.ts';
import { prometheusRules } from '../../dashboard/alerts/prometheus.ts';
import { DEFAULT_RULES, fits, rulesOption, type AlertRule } from '../../dashboard/alerts/rules.ts';
import { step, type AlertState } from '../../dashboard/alerts/states.ts';
import type { Look } from '../../dashboard/live/look.ts';
import { createMetrics, type HistoryPoint } from '../../src/index.ts';
import { createJobMetrics } from '../../src/jobs/job-metrics.ts';
import { defineGauges } from '../../src/jobs/metric-definitions.ts';
import { collectStreams } from '../../src/streams/streams-metrics.ts';
import { collectLive } from '../../dashboard/live/live-metrics.ts';

const NOW = 1_800_000_000_000;
const rule = (one: AlertRule) => rulesOption.parse([one])[0]!;
const counts = {
  waiting: 0,
  active: 0,
  delayed: 0,
  prioritized: 0,
  'waiting-children': 0,
  completed: 0,
  failed: 0,
  dead: 0,
};
const point = (some: Partial<HistoryPoint>): HistoryPoint => ({
  at: NOW - 60_000,
  completed: 0,
  failed: 0,
  retried: 0,
  dead: 0,
  waitMs: undefined,
  runMs: undefined,
  depth: undefined,
  oldestAgeMs: undefined,
  ...some,
});
const look = (some: Partial<Look>): Look => ({
  found: {} as Look['found'],
  at: NOW,
  queues: [],
  workers: [],
  streams: [],
  schedules: [],
  recent: new Map(),
  unseen: { queues: new Set(), streams: new Set() },
  ...some,
});
const queue = (name: string, some: Partial<Look['queues'][number]> = {}): Look['queues'][number] => ({
  queue: name,
  counts,
  oldestAgeMs: undefined,
  isPaused: false,
  ...some,
});
const subjects = (one: AlertRule, some: Partial<Look>): string[] =>
  observe(rule(one), look(some)).map(({ subject }) => subject);

const times = <Value>(count: number, value: Value): Value[] => Array<Value>(count).fill(value);

/** Why a list of rules is refused; empty where it is not. */
const reasons = (rules: unknown): string =>
  rulesOption
    .safeParse(rules)
    .error?.issues.map(({ message }) => message)
    .join() ?? '';

describe('a rule finds', () => {
  test('a queue whose oldest job waits for too long, if the rule is about it', () => {
    const queues = [
      queue('email', { oldestAgeMs: 6_000 }),
      queue('bill-a', { oldestAgeMs: 6_000 }),
      queue('idle', { oldestAgeMs: 5_000 }),
    ];
    expect(subjects({ kind: 'oldest-age', over: '5s' }, { queues })).toEqual(['queue email', 'queue bill-a']);
    expect(subjects({ kind: 'oldest-age', over: '5s', queues: ['bill-*'] }, { queues })).toEqual(['queue bill-a']);
  });

  test('a queue of which too many attempts fail, when there are enough to tell', () => {
    const queues = [queue('email'), queue('few')];
    const recent = new Map([
      ['email', [point({ completed: 10, failed: 30 }), point({ at: NOW - 3_600_000, completed: 1_000 })]],
      ['few', [point({ failed: 3 })]],
    ]);
    const [only, ...others] = observe(rule({ kind: 'failure-rate' }), look({ queues, recent }));
    expect([only?.subject, only?.text, others]).toEqual(['queue email', '75 % of 40 attempts failed in 5 min.', []]);
  });

  test('dead letters by count and by growth', () => {
    const queues = [queue('email', { counts: { ...counts, dead: 11 } })];
    const recent = new Map([['email', [point({ dead: 4 }), point({ at: NOW - 1_800_000, dead: 7 })]]]);
    expect(subjects({ kind: 'dead-letters', over: 10 }, { queues })).toEqual(['queue email']);
    expect(subjects({ kind: 'dead-letters', over: 11 }, { queues })).toEqual([]);
    expect(subjects({ kind: 'dead-letter-growth', over: 3 }, { queues, recent })).toEqual(['queue email']);
    expect(subjects({ kind: 'dead-letter-growth', over: 4 }, { queues, recent })).toEqual([]);
  });

  test('schedules, workers and groups of streams', () => {
    const schedules = [
      { id: 'nightly', overdueMs: 90_000 },
      { id: 'hourly', overdueMs: 0, lastMissedAt: NOW - 60_000 },
      { id: 'fine', overdueMs: 100, lastMissedAt: NOW - 86_400_000 },
    ] as unknown as Look['schedules'];
    expect(subjects({ kind: 'missed-schedule' }, { schedules })).toEqual(['schedule nightly', 'schedule hourly']);
    const worker = { id: '0a1b2c3d-x', host: 'web', pid: 7, seenAt: NOW - 20_000, running: [] };
    const workers = [
      { ...worker, state: 'silent' },
      { ...worker, state: 'running' },
    ] as unknown as Look['workers'];
    expect(subjects({ kind: 'silent-worker' }, { workers })).toEqual(['worker web:7 (0a1b2c3d)']);
    const groups = [
      { name: 'billing', lag: 1_001 },
      { name: 'mail', lag: 3 },
    ];
    const streams = [{ name: 'orders', groups }] as unknown as Look['streams'];
    expect(subjects({ kind: 'stream-lag' }, { streams })).toEqual(['group billing of orders']);
    expect(subjects({ kind: 'stream-lag', streams: ['others'] }, { streams })).toEqual([]);
  });

  test('names as patterns say, whatever stands in them', () => {
    fc.assert(fc.property(fc.string(), (name) => fits(name, [name.replaceAll('*', '?')]) === !name.includes('*')));
    expect([fits('a.b', ['a?b']), fits('axb', ['a.b']), fits('a-b-c', ['a*c']), fits('xa', ['a'])]).toEqual([
      false,
      false,
      true,
      false,
    ]);
  });
});

describe('an alert', () => {
  const oldest = rule({ kind: 'oldest-age', for: '1m', clear: '2m' });
  const seen: Observation = { subject: 'queue email', labels: { queue: 'email' }, text: 'It waits.', value: 1 };
  /** The state after each of the looks, ten seconds apart: whether the condition held. */
  const states = (held: readonly boolean[]): Array<string> => {
    let known: ReadonlyMap<string, AlertState> = new Map();
    return held.map((holds, place) => {
      const next = step(known, [{ rule: oldest, observations: holds ? [seen] : [] }], NOW + place * 10_000);
      known = next.states;
      return next.resolved.length > 0 ? 'resolved' : ([...known.values()][0]?.state ?? 'none');
    });
  };

  test('fires once its condition has held for long enough, and is resolved once it has not for long enough', () => {
    const told = states([...times(8, true), ...times(13, false)]);
    expect(told).toEqual([...times(6, 'pending'), 'firing', 'firing', ...times(12, 'firing'), 'resolved']);
  });

  test('does not flap: what comes and goes neither fires nor is resolved', () => {
    expect(states([true, true, false, true, true, true, true, false])).not.toContain('firing');
    const told = states([...times(7, true), ...Array.from({ length: 60 }, (_, place) => place % 3 === 0)]);
    expect(told.slice(6).every((state) => state === 'firing')).toBe(true);
  });

  test('of what could not be seen stays as it is, whether it fires or is pending, and ends when it is seen or gone', () => {
    const grows = rule({ kind: 'dead-letter-growth', for: 0, clear: 0 });
    const lags = rule({ kind: 'stream-lag', for: '1m', clear: 0 });
    const group = { subject: 'group billing of orders', labels: { stream: 'orders', group: 'billing' } };
    const found = [
      { rule: grows, observations: [seen] },
      { rule: lags, observations: [{ ...seen, ...group }] },
    ];
    const before = step(new Map(), found, NOW).states;
    const after = (some: Partial<Look>) => {
      const judge = (one: typeof grows) => ({
        rule: one,
        observations: observe(one, look(some)),
        isUnseen: (labels: Observation['labels']) => isUnseen(one, look(some), labels),
      });
      return step(before, [judge(grows), judge(lags)], NOW + 600_000);
    };
    const streams = new Set(['orders']);
    expect(after({ unseen: { queues: new Set(['email']), streams } }).states).toEqual(before);
    expect(after({ unseen: { queues: new Set(), streams }, queues: [queue('email')] }).states).toEqual(before);
    const judged = after({ queues: [queue('email')], recent: new Map([['email', []]]) });
    expect([judged.states.size, judged.resolved.map(({ subject }) => subject)]).toEqual([0, ['queue email']]);
    expect(after({}).resolved.map(({ subject }) => subject)).toEqual(['queue email']);
  });

  test('is told of where it cannot be judged: what is unseen, and what is beyond the queues of which rates are read', () => {
    const some = look({
      queues: [queue('rated'), queue('beyond'), queue('other')],
      recent: new Map([['rated', []]]),
      unseen: { queues: new Set(['away', 'other-away']), streams: new Set(['orders']) },
    });
    const ofRates = rule({ kind: 'failure-rate', queues: ['rated', 'beyond', 'away'] });
    expect(unjudged([ofRates], some)).toEqual({ queues: 2, streams: 0 });
    expect(unjudged([rule({ kind: 'dead-letters' })], some)).toEqual({ queues: 2, streams: 0 });
    expect(unjudged([rule({ kind: 'stream-lag' })], some)).toEqual({ queues: 0, streams: 1 });
  });

  test('is not acknowledged by what was meant for the one before it', () => {
    const firing = step(new Map(), [{ rule: { ...oldest, for: 0 }, observations: [seen] }], NOW).states;
    const by = (at: number) =>
      firingOf({ states: firing, acknowledged: new Map([[[...firing.keys()][0]!, { by: 'ann', at }]]) })[0]
        ?.acknowledgedBy;
    expect([by(NOW - 1), by(NOW)]).toEqual([undefined, 'ann']);
  });

  test('of a rule that is there no more ends', () => {
    const firing = step(new Map(), [{ rule: { ...oldest, for: 0 }, observations: [seen] }], NOW).states;
    expect(step(firing, [], NOW + 1).resolved.map(({ subject }) => subject)).toEqual(['queue email']);
  });
});

describe('the options', () => {
  test('a name is there once, and what is wrong is told', () => {
    expect(reasons([{ kind: 'silent-worker' }, { kind: 'silent-worker' }])).toContain('each name once');
    expect(reasons([{ kind: 'no-such' }])).not.toBe('');
    expect(reasons([{ kind: 'failure-rate', within: '10s' }])).toContain('1 minute to 6 hours');
    expect(rulesOption.parse([...DEFAULT_RULES])).toHaveLength(DEFAULT_RULES.length);
  });
});

describe('for Prometheus', () => {
  test('the file has each rule, in a form that YAML readers take', () => {
    const file = prometheusRules([
      ...DEFAULT_RULES,
      {
        kind: 'oldest-age',
        name: 'slow-mail',
        queues: ['email', 'a.b*"\\'],
        over: '30s',
        for: '90s',
        clear: 0,
        severity: 'critical',
      },
    ]);
    const lines = file.split('\n');
    expect(lines.slice(0, 3)).toEqual(['groups:', '  - name: millrace', '    rules:']);
    const form =
      /^( {6}- alert| {8}(expr|for|keep_firing_for|labels|annotations)| {10}(severity|summary)):(?: (\S.*))?$/;
    const values = lines.slice(3, -1).map((line) => form.exec(line) ?? [line]);
    expect(values.filter(([, key]) => key === undefined)).toEqual([]);
    // A scalar is a JSON string, which is one of YAML too, or a plain word.
    const texts = values.map((value) => value[4] ?? '').filter((value) => !/^\w*$/.test(value));
    expect(texts.map((text) => typeof JSON.parse(text))).toEqual(texts.map(() => 'string'));
    expect(lines.filter((line) => line.includes('- alert:'))).toHaveLength(DEFAULT_RULES.length + 1);
    expect(file).toContain(String.raw`millrace_queue_oldest_waiting_seconds{queue=~\"email|a\\\\.b.*`);
    expect(file).toContain('> 30"\n        for: 90s\n        labels:\n          severity: critical');
  });

  test('every metric that it names is one of ours, with the labels that it names', async () => {
    const metrics = createMetrics();
    const known = new Map<string, readonly string[]>();
    const spy = new Proxy(metrics, {
      get: (target, property: 'counter') => (definition: { name: string; labels?: readonly string[] }) => {
        known.set(definition.name, definition.labels ?? []);
        return target[property](definition as never);
      },
    });
    createJobMetrics(spy);
    defineGauges(spy, async () => []);
    collectStreams(spy, async () => []);
    collectLive(spy, {} as never);
    const file = prometheusRules();
    const used = [...file.matchAll(/(millrace_\w+)(?:\{(\w+)=)?/g)];
    expect(used.length).toBeGreaterThan(6);
    const strange = used.filter(([, name = '', label]) => {
      const labels = known.get(name);
      return !labels || (label !== undefined && !labels.includes(label));
    });
    expect(strange.map(([text]) => text)).toEqual([]);
    for (const [, labels = ''] of file.matchAll(/by \(([\w, ]+)\)/g))
      for (const label of labels.split(', ')) expect([...known.values()].flat()).toContain(label);
  });
});
