/** A stream on a server, for tests that look at what its scripts leave behind. */
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { systemClock } from '../../../src/clock.ts';
import type { Metrics } from '../../../src/metrics/registry.ts';
import type { RedisOptions } from '../../../src/redis/address.ts';
import { createConnections } from '../../../src/redis/connect.ts';
import type { ConsumerDefinition } from '../../../src/streams/consumer/consume.ts';
import type { RunningConsumer } from '../../../src/streams/consumer/consumer.ts';
import { defineStream, type StreamContract } from '../../../src/streams/contract.ts';
import { createStreamKeys } from '../../../src/streams/keys.ts';
import type { Host } from '../../../src/streams/member.ts';
import { collectLog } from '../../support/log-lines.ts';

/** The keys of one group of a new stream. */
export function groupKeys(group = 'g', stream = 's', prefix = `t-${randomUUID()}`) {
  const keys = createStreamKeys(prefix)(stream);
  return { prefix, stream, group, entries: keys.entries, ...keys.group(group) };
}

export type Keys = ReturnType<typeof groupKeys>;

/** Adds entries with JSON data; gives their ids. */
export async function add(redis: Redis, { entries }: Keys, ...data: unknown[]): Promise<string[]> {
  return Promise.all(data.map(async (one) => String(await redis.xadd(entries, '*', 'data', JSON.stringify(one)))));
}

/** Who has what: consumer -> ids. */
export async function pending(redis: Redis, { entries, group }: Keys): Promise<Record<string, string[]>> {
  const all = (await redis.xpending(entries, group, '-', '+', 10_000)) as Array<[string, string]>;
  const owners: Record<string, string[]> = {};
  for (const [id, owner] of all) (owners[owner] ??= []).push(id);
  return owners;
}

/** The names of the consumers that Redis knows. */
export async function consumers(redis: Redis, { entries, group }: Keys): Promise<string[]> {
  const all = (await redis.xinfo('CONSUMERS', entries, group)) as unknown[][];
  return all.map((one) => String(one[1])).toSorted();
}

/** A log that collects, the connections of one process, and what it lends to the members that it runs. */
export function processOn(redis: RedisOptions, prefix: string, metrics?: Metrics) {
  const lines = collectLog();
  const connections = createConnections({ commandTimeout: 2_000, ...redis });
  const host: Host = { connections, prefix, log: lines.log, clock: systemClock, modules: {}, metrics };
  return { lines, connections, host };
}

/** Schema of any JSON. */
const anything = z.unknown();

/** A stream of anything. */
export function anyStream(name = 's'): StreamContract {
  return defineStream({ name, schema: anything });
}

/** Quick enough for tests; what a test is about it sets itself. */
export const QUICK = { group: 'g', lease: '600ms', backoff: '20ms', grace: '200ms' } as const;

/** Processes on one server, for tests that own what they start. */
export function ownedProcesses(
  own: <T extends { stop(): Promise<unknown> } | { close(): Promise<unknown> }>(thing: T) => T,
) {
  return async (
    definitions: ConsumerDefinition[],
    { redis, keys, metrics }: { redis: RedisOptions; keys: Keys; metrics?: Metrics },
  ) => {
    const process = processOn(redis, keys.prefix, metrics);
    own(process.connections);
    const running = await Promise.all(
      definitions.map(async (definition) => {
        const consumer = await definition.start(process.host);
        own({ stop: () => consumer.stop(500) });
        return consumer;
      }),
    );
    return { ...process, running, consumer: running[0] as RunningConsumer };
  };
}
