/** What all that a process says has in common: its name, its ids, and how it reaches Redis. */
import type { Clock } from '../clock.ts';
import { publishVerb } from '../redis/broadcast.ts';
import type { Connections } from '../redis/connect.ts';
import type { Guard } from '../redis/guard.ts';
import type { KeySpace } from '../redis/keys.ts';
import type { Meta } from './envelope.ts';
import type { TopicMeter } from './pubsub-metrics.ts';

/** The connections that pub/sub uses. */
export type PubSubConnections = Pick<Connections, 'commands' | 'subscriber' | 'topology' | 'label'>;

/** What it needs. */
export interface SpeakerParts {
  readonly connections: PubSubConnections;
  readonly keys: KeySpace;
  readonly guard: Guard;
  readonly clock: Clock;
  /** This process: host, process id, and what tells two of the same id apart. */
  readonly origin: string;
  /** What the ids of its messages begin with. */
  readonly idStem: string;
  readonly meterOf: (topic: string) => TopicMeter;
}

/** Speaks for a process. */
export class Speaker {
  readonly connections: PubSubConnections;
  readonly keys: KeySpace;
  readonly origin: string;
  readonly meterOf: (topic: string) => TopicMeter;
  readonly verb: 'PUBLISH' | 'SPUBLISH';
  readonly #parts: SpeakerParts;
  #lastId = 0;

  constructor(parts: SpeakerParts) {
    this.#parts = parts;
    this.connections = parts.connections;
    this.keys = parts.keys;
    this.origin = parts.origin;
    this.meterOf = parts.meterOf;
    this.verb = publishVerb(parts.connections);
  }

  nextId(): string {
    return `${this.#parts.idStem}-${++this.#lastId}`;
  }

  meta(id: string, headers: Readonly<Record<string, string>>): Meta {
    return { id, origin: this.origin, sentAt: this.#parts.clock.wallMs(), headers };
  }

  /** @returns how many connections heard it; on a Cluster, those to the master of the channel's shard. */
  async say(channel: string, message: string): Promise<number> {
    return Number(await this.ask(() => this.connections.commands().call(this.verb, channel, message)));
  }

  /** Within the deadline. @throws MillraceError that says what was wrong. */
  ask<T>(call: () => Promise<T>): Promise<T> {
    return this.#parts.guard.run(call);
  }
}
