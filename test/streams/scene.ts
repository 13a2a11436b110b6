/** Streams of one process on a server of the test, and what stands for consumers: plain XREADGROUP and XACK, as any tool would. */
import { randomUUID } from 'node:crypto';
import { expect } from 'vitest';
import { z } from 'zod';
import type { MillraceError } from '../../src/errors.ts';
import type { RedisOptions } from '../../src/redis/address.ts';
import type { RedisClient } from '../../src/redis/clients.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { defineStream, type KeepEntries, type KeepLetters, type StreamContract } from '../../src/streams/contract.ts';
import { createStreamKeys, type StreamKeys } from '../../src/streams/keys.ts';
import { createStreams, type Streams, type StreamsOptions } from '../../src/streams/streams.ts';

export const noteSchema = z.object({ n: z.number() });
export type Note = z.infer<typeof noteSchema>;

/** A stream of numbers, of a name of its own. */
export function notes(
  options: {
    groups?: string[];
    keep?: KeepEntries;
    deadLetters?: KeepLetters;
    maxBytes?: number;
    secrets?: string[];
  } = {},
): StreamContract<Note> {
  return defineStream({ name: `notes-${randomUUID()}`, schema: noteSchema, ...options });
}

export interface Scene {
  readonly prefix: string;
  readonly connections: Connections;
  readonly client: RedisClient;
  readonly streams: Streams;
  readonly keysOf: (contract: { name: string }) => StreamKeys;
}

export function createScene(
  own: <T extends { stop: () => Promise<unknown> } | { close: () => Promise<unknown> }>(thing: T) => T,
  redis: RedisOptions,
  options: StreamsOptions = {},
): Scene {
  const connections = own(createConnections({ commandTimeout: 5_000, ...redis }));
  const prefix = options.prefix ?? `s-${randomUUID()}`;
  const streams = own(createStreams(connections, { ...options, prefix }));
  return {
    prefix,
    connections,
    client: connections.commands(),
    streams,
    keysOf: ({ name }) => createStreamKeys(prefix)(name),
  };
}

/** The ids that a group is given, as XREADGROUP with `>` gives them. */
export async function read(client: RedisClient, key: string, group: string, count: number): Promise<string[]> {
  const reply = (await client.xreadgroup('GROUP', group, 'me', 'COUNT', count, 'STREAMS', key, '>')) as Array<
    [string, Array<[string, string[]]>]
  > | null;
  return (reply?.[0]?.[1] ?? []).map(([id]) => id);
}

/** All ids of the stream. */
export async function idsOf(client: RedisClient, key: string): Promise<string[]> {
  return (await client.xrange(key, '-', '+')).map(([id]) => id);
}

/** What the call failed with. */
export async function failureOf(call: Promise<unknown>): Promise<MillraceError> {
  const outcome: unknown = await call.catch((error: unknown) => error);
  expect(outcome).toMatchObject({ name: 'MillraceError' });
  return outcome as MillraceError;
}

/** A list of notes. */
export function many(count: number, from = 0): Note[] {
  return Array.from({ length: count }, (_, index) => ({ n: from + index }));
}
