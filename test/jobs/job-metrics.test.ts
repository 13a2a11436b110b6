import { describe, expect, test } from 'vitest';
import { createJobMetrics, JOB_OUTCOMES, JOB_SECONDS_BUCKETS, type QueueDepth } from '../../src/jobs/job-metrics.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import { readExposition, valueIn } from '../support/exposition.ts';

const names = { queue: 'email', contract: 'email.send' };

function onRegistry() {
  const registry = createMetrics();
  const metrics = createJobMetrics(registry);
  return { registry, metrics, meter: metrics.forContract(names.queue, names.contract) };
}

const depth = (queue: string, waiting: number, oldestWaitingMs: number | undefined): QueueDepth => ({
  queue,
  counts: { waiting, active: 2, delayed: 3, prioritized: 4, 'waiting-children': 5, completed: 6, failed: 7, dead: 8 },
  oldestWaitingMs,
});

describe('the counts of a contract', () => {
  test('go in as milliseconds and come out as seconds', async () => {
    const { registry, meter } = onRegistry();
    meter.waited(2);
    meter.waited(1_500);
    meter.ran(700_000);
    const text = await registry.render();
    expect(valueIn(text, 'millrace_job_wait_seconds_sum', names)).toBeCloseTo(1.502);
    expect(valueIn(text, 'millrace_job_wait_seconds_bucket', { ...names, le: '0.0025' })).toBe(1);
    expect(valueIn(text, 'millrace_job_wait_seconds_bucket', { ...names, le: '2.5' })).toBe(2);
    expect(valueIn(text, 'millrace_job_run_seconds_bucket', { ...names, le: '600' })).toBe(0);
    expect(valueIn(text, 'millrace_job_run_seconds_bucket', { ...names, le: '+Inf' })).toBe(1);
  });

  test.each(JOB_OUTCOMES)('an attempt that ended %s counts as that and nothing else', async (outcome) => {
    const { registry, meter } = onRegistry();
    meter.outcome(outcome);
    const lines = readExposition(await registry.render()).get('millrace_jobs_finished_total')!.lines;
    expect(lines).toHaveLength(JOB_OUTCOMES.length);
    expect(lines.filter(({ value }) => value > 0)).toEqual([
      { name: 'millrace_jobs_finished_total', labels: { ...names, outcome }, value: 1 },
    ]);
  });

  test('dead letters have their reasons, also ones that are new', async () => {
    const { registry, meter } = onRegistry();
    meter.deadLetter('poison');
    meter.deadLetter('poison');
    meter.deadLetter('moon');
    const text = await registry.render();
    expect(valueIn(text, 'millrace_dead_letters_total', { ...names, reason: 'poison' })).toBe(2);
    expect(valueIn(text, 'millrace_dead_letters_total', { ...names, reason: 'moon' })).toBe(1);
  });

  test('the first job shows all series of a worker at 0, so that the first dead letter is a rise', async () => {
    const { registry, meter } = onRegistry();
    meter.outcome('completed');
    const text = await registry.render();
    expect(valueIn(text, 'millrace_dead_letters_total', { ...names, reason: 'attempts' })).toBe(0);
    expect(valueIn(text, 'millrace_jobs_finished_total', { ...names, outcome: 'dead' })).toBe(0);
  });

  test('a process that only enqueues shows nothing but its enqueues', async () => {
    const { registry, meter } = onRegistry();
    meter.enqueued('added');
    meter.enqueued('added');
    meter.enqueued('duplicate');
    const read = readExposition(await registry.render());
    expect(
      read.get('millrace_jobs_enqueued_total')?.lines.map(({ labels, value }) => [labels['status'], value]),
    ).toEqual([
      ['added', 2],
      ['duplicate', 1],
    ]);
    expect(read.get('millrace_job_run_seconds')?.lines).toEqual([]);
    expect(read.get('millrace_jobs_finished_total')?.lines).toEqual([]);
  });

  test('are one object for one contract, and another on another queue', () => {
    const { metrics, meter } = onRegistry();
    expect(metrics.forContract('email', 'email.send')).toBe(meter);
    expect(metrics.forContract('email', 'email.read')).not.toBe(meter);
    expect(metrics.forContract('bulk', 'email.send')).not.toBe(meter);
  });

  test('beyond 2,000 contracts they are counted as other', async () => {
    const registry = createMetrics();
    const metrics = createJobMetrics(registry);
    for (let id = 0; id < 2_010; id++) metrics.forContract('email', `email.${id}`).ran(1);
    metrics.forContract('email', 'email.2009').ran(1);
    const text = await registry.render();
    // Parsing tens of thousands of lines would take seconds.
    expect(text).toContain('millrace_job_run_seconds_count{queue="other",contract="other"} 11\n');
    expect(text).toContain('millrace_job_run_seconds_count{queue="email",contract="email.1999"} 1\n');
  });

  test('the buckets reach from 1 ms to 10 minutes', () => {
    expect([JOB_SECONDS_BUCKETS[0], JOB_SECONDS_BUCKETS.at(-1)]).toEqual([0.001, 600]);
  });
});

describe('the counts of a queue and of the process', () => {
  test('are there from when they are bound on', async () => {
    const { registry, metrics } = onRegistry();
    const meter = metrics.forQueue('email');
    meter.stalled();
    meter.redriven(250);
    const text = await registry.render();
    expect(valueIn(text, 'millrace_jobs_stalled_total', { queue: 'email' })).toBe(1);
    expect(valueIn(text, 'millrace_dead_letters_redriven_total', { queue: 'email' })).toBe(250);
    expect(valueIn(text, 'millrace_dead_letters_discarded_total', { queue: 'email' })).toBe(0);
    meter.discarded(3);
    expect(valueIn(await registry.render(), 'millrace_dead_letters_discarded_total', { queue: 'email' })).toBe(3);
  });

  test('blocks of the event loop are a histogram', async () => {
    const { registry, metrics } = onRegistry();
    metrics.eventLoopBlocked(1_200);
    const text = await registry.render();
    expect(valueIn(text, 'millrace_event_loop_blocked_seconds_sum')).toBeCloseTo(1.2);
    expect(valueIn(text, 'millrace_event_loop_blocked_seconds_bucket', { le: '1' })).toBe(0);
    expect(valueIn(text, 'millrace_event_loop_blocked_seconds_bucket', { le: '2.5' })).toBe(1);
  });
});

describe('the depth of queues', () => {
  test('is asked for once a scrape, by state, with the oldest age; an empty queue has the age 0', async () => {
    const { registry, metrics } = onRegistry();
    let looks = 0;
    metrics.collectQueues(async () => {
      looks++;
      return [depth('email', 1, 90_500), depth('pdf', 0, undefined)];
    });
    const text = await registry.render();
    expect(looks).toBe(1);
    expect(valueIn(text, 'millrace_queue_jobs', { queue: 'email', state: 'waiting' })).toBe(1);
    expect(valueIn(text, 'millrace_queue_jobs', { queue: 'pdf', state: 'waiting-children' })).toBe(5);
    expect(readExposition(text).get('millrace_queue_jobs')?.lines).toHaveLength(16);
    expect(valueIn(text, 'millrace_queue_oldest_waiting_seconds', { queue: 'email' })).toBe(90.5);
    expect(valueIn(text, 'millrace_queue_oldest_waiting_seconds', { queue: 'pdf' })).toBe(0);
    await registry.render();
    expect(looks).toBe(2);
  });

  test('is missing while the source fails, and the rest is there', async () => {
    const { registry, metrics, meter } = onRegistry();
    metrics.collectQueues(() => Promise.reject(new Error('no Redis')));
    meter.outcome('completed');
    const text = await registry.render();
    expect(readExposition(text).get('millrace_queue_jobs')?.lines).toEqual([]);
    expect(valueIn(text, 'millrace_scrape_failures_total', { collector: 'millrace_queue_jobs' })).toBe(1);
    expect(valueIn(text, 'millrace_jobs_finished_total', { ...names, outcome: 'completed' })).toBe(1);
  });
});

test('without a registry everything can be called and counts nothing', () => {
  const metrics = createJobMetrics(undefined);
  const meter = metrics.forContract('email', 'email.send');
  meter.enqueued('added');
  meter.waited(1);
  meter.ran(1);
  for (const outcome of JOB_OUTCOMES) meter.outcome(outcome);
  meter.deadLetter('attempts');
  const queue = metrics.forQueue('email');
  queue.stalled();
  queue.redriven(1);
  queue.discarded(1);
  metrics.eventLoopBlocked(1);
  metrics.collectQueues(async () => []);
  expect(metrics.forContract('email', 'email.send')).toBe(meter);
});
