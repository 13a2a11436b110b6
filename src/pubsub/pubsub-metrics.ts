/**
 * What is counted of pub/sub, by the name of the definition; the topics of single orders or users are no labels.
 *
 *   millrace_pubsub_published_total{topic,outcome}   millrace_pubsub_received_total{topic}   millrace_pubsub_refused_total{topic,reason}
 *   millrace_pubsub_handled_total{topic,outcome}     millrace_pubsub_dropped_total{topic}    millrace_pubsub_gaps_total{topic,reason}
 *   millrace_pubsub_lag_seconds{topic}               millrace_pubsub_requests_total{topic,outcome}
 *   millrace_pubsub_request_seconds{topic}           millrace_pubsub_served_total{topic,outcome}
 */

import type { CountingRegistry } from '../meters.ts';

/** What is needed of a metrics registry; createMetrics() gives one. */
export type PubSubMetricsRegistry = CountingRegistry;

/** How a request ended. */
export type RequestOutcome = 'answered' | 'no-responder' | 'timeout' | 'failed';
/** What became of a request that was served. */
export type ServeOutcome = 'answered' | 'failed' | 'expired' | 'refused';
/** Why messages were, or may have been, missed. */
export type GapReason = 'connection' | 'overflow' | 'expired';

/** Counts for one definition. */
export interface TopicMeter {
  published(isDone: boolean): void;
  received(): void;
  /** A message was no message, too large, of another topic, or not of the schema. */
  refused(reason: 'envelope' | 'size' | 'topic' | 'input'): void;
  handled(isDone: boolean): void;
  dropped(count: number): void;
  gap(reason: GapReason): void;
  /** From the publishing to the handler, by two clocks. */
  lag(ms: number): void;
  requested(outcome: RequestOutcome, ms: number): void;
  served(outcome: ServeOutcome): void;
}

/** From one round trip to the longest backlogs, in seconds. */
const SECONDS_BUCKETS: readonly number[] = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300];

/**
 * The meters of topics on a registry; without one they count nothing.
 *
 * @throws MillraceError OPTIONS_INVALID when one of the names is taken by another metric.
 */
export function createPubSubMetrics(registry: PubSubMetricsRegistry | undefined): (topic: string) => TopicMeter {
  if (!registry) return () => NO_METER;
  const count = <const Name extends string>(name: string, help: string, labels: readonly Name[]) =>
    registry.counter({ name: `millrace_pubsub_${name}_total`, help, labels });
  const seconds = (name: string, help: string) =>
    registry.histogram({
      name: `millrace_pubsub_${name}_seconds`,
      help,
      labels: ['topic'] as const,
      buckets: SECONDS_BUCKETS,
    });
  const outcomes = ['topic', 'outcome'] as const;
  const reasons = ['topic', 'reason'] as const;
  const published = count('published', 'Messages that were published, by whether Redis took them.', outcomes);
  const received = count('received', 'Messages that arrived.', ['topic'] as const);
  const refused = count('refused', 'Messages that were refused, by why.', reasons);
  const handled = count('handled', 'Messages that were handled, by whether the handler succeeded.', outcomes);
  const dropped = count('dropped', 'Messages that found the queue of their subscription full.', ['topic'] as const);
  const gaps = count('gaps', 'How often messages were, or may have been, missed, by why.', reasons);
  const lag = seconds('lag', 'From the publishing of a message to its handler, by the clocks of both.');
  const requests = count('requests', 'Requests by how they ended.', outcomes);
  const request = seconds('request', 'From a request to its answer.');
  const served = count('served', 'Requests that came here, by what became of them.', outcomes);
  const bind = (topic: string): TopicMeter => {
    const ofTopic = { received: received.labels({ topic }), dropped: dropped.labels({ topic }) };
    const lagOfTopic = lag.labels({ topic });
    const requestOfTopic = request.labels({ topic });
    const done = handled.labels({ topic, outcome: 'done' });
    const failed = handled.labels({ topic, outcome: 'failed' });
    return {
      published: (isDone) => published.labels({ topic, outcome: isDone ? 'done' : 'failed' }).inc(),
      received: () => ofTopic.received.inc(),
      refused: (reason) => refused.labels({ topic, reason }).inc(),
      handled: (isDone) => (isDone ? done : failed).inc(),
      dropped: (n) => ofTopic.dropped.inc(n),
      gap: (reason) => gaps.labels({ topic, reason }).inc(),
      lag: (ms) => lagOfTopic.observe(Math.max(0, ms) / 1_000),
      requested(outcome, ms) {
        requests.labels({ topic, outcome }).inc();
        if (outcome === 'answered') requestOfTopic.observe(ms / 1_000);
      },
      served: (outcome) => served.labels({ topic, outcome }).inc(),
    };
  };
  const meters = new Map<string, TopicMeter>();
  return (topic) => {
    let meter = meters.get(topic);
    if (!meter) {
      meter = bind(topic);
      meters.set(topic, meter);
    }
    return meter;
  };
}

const NO_METER: TopicMeter = {
  published: () => undefined,
  received: () => undefined,
  refused: () => undefined,
  handled: () => undefined,
  dropped: () => undefined,
  gap: () => undefined,
  lag: () => undefined,
  requested: () => undefined,
  served: () => undefined,
};
