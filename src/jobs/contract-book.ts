/**
 * The contracts that are in use, as workers and apps have told them: for the dashboard, which loads no code of theirs, and for whoever must
 * know what is secret in an input.
 *
 * Promise: a contract is known from the moment its worker has started, and for 30 days after it was told last; of one version of a contract,
 * what the process says that started last. A worker tells its contracts again once an hour. What is secret in inputs stays known without
 * end, because inputs may lie in Redis for longer.
 * Keys: one slot, four keys, at most 500 contracts, and the secrets of 20,000.
 * Redis down: register() and list() fail; a worker works on, and tells its contracts when Redis is back.
 */
import type { StandardJSONSchemaV1 } from '@standard-schema/spec';
import { z } from 'zod';
import type { Clock } from '../clock.ts';
import type { Logger } from '../log.ts';
import type { Connections } from '../redis/connect.ts';
import { explainRedisError } from '../redis/explain.ts';
import { createKeySpace, type KeySpace } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import type { Schema } from '../schema.ts';
import { checkContract, type JobContract } from './contract.ts';

/** What is known of a contract of some process. */
export interface ContractInfo {
  name: string;
  queue: string;
  version: number;
  attempts: number;
  /** Of one attempt; absent for no end. */
  timeoutMs?: number;
  expiresInMs?: number;
  priority?: number;
  /** JSON Schema of the input; absent where the schema's library makes none, or one of more than 64 KB. */
  inputSchema?: Readonly<Record<string, unknown>>;
  /** Paths of what is secret in the input. */
  secrets: readonly string[];
  /** When it was told last, by the server's clock, in ms since 1970. */
  seenAt: number;
}

const KEEP_MS = 30 * 86_400_000;
const MOST_CONTRACTS = 500;
/** More are known only as long as their contracts are. */
const MOST_SECRETS = 20_000;
const LARGEST_SCHEMA = 64 * 1_024;
/** Contracts that go in one call; their schemas may be large. */
const BATCH = 20;
const TELL_EVERY_MS = 3_600_000;
/** After a failure. */
const TRY_AGAIN_MS = 60_000;
const NOT_TOLD = 'contracts not told; until they are, the dashboard may not know them, nor their secrets';

const tellContracts = defineScript({
  file: 'jobs/tell-contracts.lua',
  keys: ['seen', 'facts', 'schemas', 'secrets'],
  args: ['keepMs', 'most', 'mostSecrets', 'replaces', '...told'],
  reply: (forgotten: number) => forgotten,
});

const factsSchema = z.object({
  name: z.string(),
  queue: z.string(),
  version: z.number(),
  attempts: z.number(),
  timeoutMs: z.number().optional(),
  expiresInMs: z.number().optional(),
  priority: z.number().optional(),
  secrets: z.array(z.string()).default([]),
});
/** What is kept of secrets. */
const secretsSchema = factsSchema.pick({ name: true, secrets: true });

type BookKeys = Record<'seen' | 'facts' | 'schemas' | 'secrets', string>;

/**
 * The paths of secrets by the name of the contract: of all its versions, because a queue may hold inputs of each, and also where the contract
 * is forgotten.
 *
 * @example
 * const secrets = await contractSecrets(platform);
 * maskSecrets(job.input, secrets.get(job.name) ?? []);
 * @throws MillraceError when Redis cannot be asked
 */
export async function contractSecrets({
  redis,
  prefix,
}: {
  redis: Connections;
  prefix: string;
}): Promise<ReadonlyMap<string, readonly string[]>> {
  return asked(redis, async () => {
    const keys = keysOf(prefix);
    const [facts, kept] = await Promise.all([readFacts(redis, keys), redis.commands().hvals(keys.secrets)]);
    const secrets = new Map<string, readonly string[]>();
    for (const { name, secrets: more } of [...kept.flatMap((text) => parsed(secretsSchema, text)), ...facts]) {
      if (more.length > 0) secrets.set(name, [...new Set([...(secrets.get(name) ?? []), ...more])]);
    }
    return secrets;
  });
}

/** What a book is made of. */
export interface ContractBookParts {
  connections: Connections;
  prefix: string;
  log: Logger;
  clock: Clock;
}

/** The contracts of all processes under a prefix. */
export class ContractBook {
  readonly #parts: ContractBookParts;
  readonly #keys: BookKeys;
  readonly #kept = new Set<AbortController>();

  constructor(parts: ContractBookParts) {
    this.#parts = parts;
    this.#keys = keysOf(parts.prefix);
  }

  /** Tells the contracts. `isNews`: in the place of what others have told of them; else only what nobody has. @throws MillraceError */
  async register(contracts: readonly JobContract[], isNews = true): Promise<void> {
    for (const contract of contracts) checkContract(contract);
    const client = this.#parts.connections.commands();
    for (let from = 0; from < contracts.length; from += BATCH) {
      const told = contracts.slice(from, from + BATCH).flatMap(toldOf);
      const bounds = { keepMs: KEEP_MS, most: MOST_CONTRACTS, mostSecrets: MOST_SECRETS };
      await tellContracts(client, this.#keys, { ...bounds, replaces: isNews ? 1 : 0, told });
    }
  }

  /** Tells the contracts now, without waiting, and again once an hour, until the function that it gives is called. */
  keep(contracts: readonly JobContract[]): () => void {
    const stopping = new AbortController();
    this.#kept.add(stopping);
    void this.#keepTold(contracts, stopping.signal);
    return () => {
      stopping.abort();
      this.#kept.delete(stopping);
    };
  }

  /** All contracts, by name, the newest version first. @throws MillraceError when Redis cannot be asked */
  async list(): Promise<ContractInfo[]> {
    const { connections } = this.#parts;
    return asked(connections, async () => {
      const contracts = (await readFacts(connections, this.#keys)).map(async ({ contract, ...facts }) => {
        const schema = await connections.commands().hget(this.#keys.schemas, contract);
        return { ...facts, ...(schema !== null && { inputSchema: JSON.parse(schema) as Record<string, unknown> }) };
      });
      return (await Promise.all(contracts)).toSorted(
        (left, right) =>
          byText(left.name, right.name) || byText(left.queue, right.queue) || right.version - left.version,
      );
    });
  }

  /** As contractSecrets() has them. */
  secrets(): Promise<ReadonlyMap<string, readonly string[]>> {
    return contractSecrets({ redis: this.#parts.connections, prefix: this.#parts.prefix });
  }

  /** Tells nothing any more. */
  close(): void {
    for (const stopping of this.#kept) stopping.abort();
    this.#kept.clear();
  }

  async #keepTold(contracts: readonly JobContract[], signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#parts;
    let isNews = true;
    let isFailing = false;
    while (!signal.aborted) {
      try {
        await this.register(contracts, isNews);
        isNews = false;
        isFailing = false;
      } catch (error) {
        if (!isFailing && !signal.aborted) log.warn({ err: error }, NOT_TOLD);
        isFailing = true;
      }
      await clock.sleep(isFailing ? TRY_AGAIN_MS : TELL_EVERY_MS, { signal }).catch((error: unknown) => {
        if (!signal.aborted) throw error;
      });
    }
  }
}

function keysOf(prefix: string): BookKeys {
  const key: KeySpace = createKeySpace(prefix, 'contracts');
  return {
    seen: key('book', 'seen'),
    facts: key('book', 'facts'),
    schemas: key('book', 'schemas'),
    secrets: key('book', 'secrets'),
  };
}

async function readFacts(
  connections: Connections,
  keys: BookKeys,
): Promise<Array<Omit<ContractInfo, 'inputSchema'> & { contract: string }>> {
  const client = connections.commands();
  const seen = await client.zrange(keys.seen, '0', '-1', 'WITHSCORES');
  const contracts = seen.filter((_text, index) => index % 2 === 0);
  if (contracts.length === 0) return [];
  const texts = await client.hmget(keys.facts, ...contracts);
  return contracts.flatMap((contract, index) =>
    parsed(factsSchema, texts[index] ?? 'null').map((facts) => ({
      ...withoutUndefined(facts),
      contract,
      seenAt: Number(seen[index * 2 + 1]),
    })),
  );
}

/** None of what is not as it should be. */
function parsed<T>(schema: z.ZodType<T>, text: string): [T] | [] {
  try {
    return [schema.parse(JSON.parse(text))];
  } catch {
    return []; // Told by nobody of ours: the others are known all the same.
  }
}

async function asked<T>(connections: Connections, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    throw explainRedisError(error, connections.label);
  }
}

/** The contract, its facts, its schema, its secrets. */
function toldOf({
  name,
  queue,
  version,
  attempts,
  timeoutMs,
  expiresInMs,
  priority,
  secrets,
  input,
}: JobContract): string[] {
  const facts = { name, queue, version, attempts, timeoutMs, expiresInMs, priority, secrets };
  const kept = secrets.length === 0 ? '' : JSON.stringify({ name, secrets });
  return [`${queue} ${name} ${version}`, JSON.stringify(facts), jsonSchemaOf(input), kept];
}

/** JSON Schema of what the schema takes; empty where its library makes none, cannot for this one, or it is too large. */
function jsonSchemaOf(schema: Schema): string {
  const standard = schema['~standard'] as Schema['~standard'] & Partial<StandardJSONSchemaV1.Props>;
  if (typeof standard.jsonSchema?.input !== 'function') return '';
  // What zod cannot express, such as a custom check, is then any value, instead of no schema at all.
  const libraryOptions = standard.vendor === 'zod' ? { libraryOptions: { unrepresentable: 'any' } } : {};
  for (const target of ['draft-2020-12', 'draft-07']) {
    try {
      const text = JSON.stringify(standard.jsonSchema.input({ target, ...libraryOptions }));
      return Buffer.byteLength(text) <= LARGEST_SCHEMA ? text : '';
    } catch {
      continue; // Libraries throw for what they cannot express; another target may do, and a contract needs none.
    }
  }
  return '';
}

function byText(left: string, right: string): number {
  return left < right ? -1 : Number(left > right);
}

/** Facts that were not told are not there. */
function withoutUndefined<T extends object>(facts: T): { [Key in keyof T]: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(facts).filter(([, fact]) => fact !== undefined)) as never;
}
