/** The trace that a job belongs to, as BullMQ's telemetry stored it with the job, for log lines. */
import type { JobsOptions } from 'bullmq';

/** W3C's traceparent: version, trace, span, flags. */
const TRACEPARENT = /"traceparent":"[0-9a-f]{2}-([0-9a-f]{32})-/;

/** The id of the job's trace; undefined without telemetry. */
export function traceIdOf({ telemetry }: JobsOptions): string | undefined {
  return telemetry?.metadata === undefined ? undefined : TRACEPARENT.exec(telemetry.metadata)?.[1];
}
