/**
 * The streams that processes publish to and consume, told to Redis so that operators find them without their code.
 *
 * Each process tells of its own when it first uses them, and once a minute again, because a server may have lost its data: one command for all,
 * and one for each that has secrets. Names are those of contracts, which are few, so they are kept for ever; so are secrets, as entries of each
 * version of a contract may be there. Event stores are told of as `events:NAME`; no stream is called so.
 * Redis down: it is told of later; until then operators miss the stream.
 */
import type { Logger } from '../log.ts';
import type { Connections } from '../redis/connect.ts';
import { explainRedisError } from '../redis/explain.ts';
import type { StreamContract } from './contract.ts';
import type { EventsContract } from './event-store/contract.ts';
import { createStreamKeys, knownStreamsKey } from './keys.ts';

/** What is told of a contract. */
export type KnownContract = Pick<StreamContract, 'groups' | 'keep'>;

/** What the name of an event store begins with here. */
export const EVENTS = 'events:';
const EVERY_MS = 60_000;

/** What this process tells, and what all have told. */
export class KnownStreams {
  readonly #connections: Pick<Connections, 'commands' | 'label'>;
  readonly #key: string;
  readonly #secretsKey: (stream: string) => string;
  readonly #log: Logger;
  readonly #everyMs: number;
  readonly #own = new Map<string, string>();
  readonly #secrets = new Map<string, readonly string[]>();
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  constructor(
    connections: Pick<Connections, 'commands' | 'label'>,
    prefix: string,
    log: Logger,
    everyMs: number = EVERY_MS,
  ) {
    this.#everyMs = everyMs;
    this.#connections = connections;
    this.#key = knownStreamsKey(prefix);
    const keysOf = createStreamKeys(prefix);
    this.#secretsKey = (stream) => keysOf(stream).secrets;
    this.#log = log;
  }

  /** This process uses it. Never throws, and waits for nothing; what is published after it comes to Redis after the secrets. */
  add({ name, groups, keep, secrets }: StreamContract): void {
    if (secrets.length > 0 && !this.#isStopped) {
      this.#secrets.set(name, [...new Set([...(this.#secrets.get(name) ?? []), ...secrets])]);
      this.#tell([], [[name, secrets]]);
    }
    this.#add(name, JSON.stringify({ groups, keep } satisfies KnownContract));
  }

  addEvents({ name }: Pick<EventsContract, 'name'>): void {
    this.#add(EVENTS + name, '');
  }

  /** All names. @throws what Redis met */
  async names(): Promise<string[]> {
    try {
      return (await this.#connections.commands().hkeys(this.#key)).toSorted();
    } catch (error) {
      throw explainRedisError(error, this.#connections.label);
    }
  }

  /** Where it is noted what a contract says. */
  get key(): string {
    return this.#key;
  }

  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#timer);
  }

  #add(name: string, said: string): void {
    if (this.#isStopped || this.#own.get(name) === said) return;
    this.#own.set(name, said);
    this.#timer ??= setInterval(() => this.#tell([...this.#own].flat(), this.#secrets), this.#everyMs).unref();
    this.#tell([name, said]);
  }

  #tell(said: readonly string[], secrets: Iterable<readonly [stream: string, paths: readonly string[]]> = []): void {
    const failed = (error: unknown): void =>
      this.#log.debug({ err: explainRedisError(error, this.#connections.label) }, 'streams not told of');
    try {
      const client = this.#connections.commands();
      for (const [stream, paths] of secrets) client.sadd(this.#secretsKey(stream), ...paths).catch(failed);
      if (said.length > 0) client.hset(this.#key, ...said).catch(failed);
    } catch (error) {
      failed(error); // The connections are closed.
    }
  }
}

/** What a contract says; undefined of what is none. */
export function readKnown(json: unknown): KnownContract | undefined {
  if (typeof json !== 'string' || json === '') return undefined;
  return JSON.parse(json) as KnownContract;
}
