/**
 * The streams that processes publish to and consume, told to Redis so that operators find them without their code.
 *
 * Each process tells of its own when it first uses them, and once a minute again, because a server may have lost its data: one command for all.
 * Names are those of contracts, which are few, so they are kept for ever. Event stores are told of as `events:NAME`; no stream is called so.
 * Redis down: it is told of later; until then operators miss the stream.
 */
import type { Logger } from '../log.ts';
import type { Connections } from '../redis/connect.ts';
import { explainRedisError } from '../redis/explain.ts';
import type { StreamContract } from './contract.ts';
import type { EventsContract } from './event-store/contract.ts';
import { knownStreamsKey } from './keys.ts';

/** What is told of a contract. */
export type KnownContract = Pick<StreamContract, 'groups' | 'keep'>;

/** What the name of an event store begins with here. */
export const EVENTS = 'events:';
const EVERY_MS = 60_000;

/** What this process tells, and what all have told. */
export class KnownStreams {
  readonly #connections: Pick<Connections, 'commands' | 'label'>;
  readonly #key: string;
  readonly #log: Logger;
  readonly #everyMs: number;
  readonly #own = new Map<string, string>();
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
    this.#log = log;
  }

  /** This process uses it. Never throws, and waits for nothing. */
  add({ name, groups, keep }: StreamContract): void {
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
    this.#timer ??= setInterval(() => this.#tell([...this.#own].flat()), this.#everyMs).unref();
    this.#tell([name, said]);
  }

  #tell(said: string[]): void {
    const failed = (error: unknown): void =>
      this.#log.debug({ err: explainRedisError(error, this.#connections.label) }, 'streams not told of');
    try {
      this.#connections
        .commands()
        .hset(this.#key, ...said)
        .catch(failed);
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
