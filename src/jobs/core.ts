/** What the parts of the jobs share in one process. */
import type { Clock } from '../clock.ts';
import type { Logger } from '../log.ts';
import type { Connections } from '../redis/connect.ts';
import type { JobMetrics } from './job-metrics.ts';
import type { Producer } from './producer.ts';
import type { QueueSet } from './queue-set.ts';

/** The shared parts. */
export interface JobsCore {
  readonly connections: Connections;
  readonly queues: QueueSet;
  readonly producer: Producer;
  readonly metrics: JobMetrics;
  readonly clock: Clock;
  readonly log: Logger;
  /** Of BullMQ's kind, such as bullmq-otel makes it. */
  readonly telemetry: unknown;
}
