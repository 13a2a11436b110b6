/** Traces of OpenTelemetry lead from the enqueue to the run, through the optional package bullmq-otel. */
import { context, propagation, trace } from '@opentelemetry/api';
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';
import { BullMQOtel } from 'bullmq-otel';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/contract.ts';
import { handle } from '../../src/jobs/handler.ts';
import { eventually } from '../support/eventually.ts';
import { ownedJobs } from '../support/jobs.ts';
import { collectLog } from '../support/log-lines.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const greet = defineJob({ name: 'traced.greet', input: z.object({ name: z.string() }), attempts: 2, backoff: 1 });

describe('with bullmq-otel', () => {
  const jobsOf = ownedJobs();
  let exporter: InMemorySpanExporter; // One that was shut down takes no more.
  let provider: NodeTracerProvider;
  let server: TestServer;

  beforeEach(async () => {
    server = await startRedis();
    exporter = new InMemorySpanExporter();
    provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
    provider.register();
  });
  afterEach(async () => {
    await provider.shutdown();
    await server.stop();
    for (const api of [context, propagation, trace]) api.disable();
  });

  test('a job runs in the trace of whoever enqueued it, and its log lines say which', async () => {
    const { log, told } = collectLog();
    const telemetry = new BullMQOtel({ tracerName: 'test' });
    const { jobs, work } = jobsOf({ redis: { url: server.url }, log, options: { telemetry } });
    work({ handlers: [handle(greet, ({ name }, context_) => context_.log.info({ name }, 'greeting'))] });

    const traceId = await trace.getTracer('app').startActiveSpan('request', async (span) => {
      await jobs.enqueueAndWait(greet, { name: 'Ada' });
      span.end();
      return span.spanContext().traceId;
    });

    await eventually(() => {
      const names = exporter
        .getFinishedSpans()
        .filter((span) => span.spanContext().traceId === traceId)
        .map(({ name }) => name);
      expect(names).toEqual(expect.arrayContaining(['request', 'add traced.traced.greet', 'process traced']));
    });
    expect(told().find(({ msg }) => msg === 'greeting')).toMatchObject({ traceId, name: 'Ada' });
  });

  test('jobs added together share the trace', async () => {
    const telemetry = new BullMQOtel({ tracerName: 'test' });
    const { jobs, work } = jobsOf({ redis: { url: server.url }, options: { telemetry } });
    const done: string[] = [];
    work({ handlers: [handle(greet, ({ name }) => void done.push(name))] });

    const traceId = await trace.getTracer('app').startActiveSpan('request', async (span) => {
      await jobs.enqueueMany(greet, [{ name: 'Ada' }, { name: 'Bob' }]);
      span.end();
      return span.spanContext().traceId;
    });

    await eventually(() => {
      const runs = exporter
        .getFinishedSpans()
        .filter((span) => span.name === 'process traced' && span.spanContext().traceId === traceId);
      expect(runs).toHaveLength(2);
    });
    expect(done.toSorted()).toEqual(['Ada', 'Bob']);
  });
});
