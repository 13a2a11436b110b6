/**
 * Messages between the processes of one platform: who shall be cancelled, who has finished.
 *
 * They are hints that make things quick; everything they say can also be read from Redis, and whoever waits for one asks there too.
 * One subscription a channel and process, on the shared subscriber.
 */
import type { Logger } from '../log.ts';
import { Broadcast } from '../redis/broadcast.ts';
import type { Connections } from '../redis/connect.ts';

/** What is said on the channels. */
export interface JobMessage {
  queue: string;
  id: string;
  reason?: string;
}

/** A channel of one process. */
export class Channel {
  readonly #name: string;
  readonly #connections: Connections;
  readonly #log: Logger;
  readonly #broadcast: Broadcast;
  readonly #listeners = new Set<(message: JobMessage) => void>();

  constructor(name: string, connections: Connections, log: Logger) {
    this.#name = name;
    this.#connections = connections;
    this.#log = log;
    this.#broadcast = new Broadcast(name, connections, log, { onMessage: (text) => this.#hear(text) });
  }

  /** Calls the listener with each message from now on. @returns what ends that. */
  listen(listener: (message: JobMessage) => void): () => void {
    this.#listeners.add(listener);
    this.open();
    return () => this.#listeners.delete(listener);
  }

  /** Subscribes, if it has not yet; for whoever knows that he will listen soon. Until it is live, whoever waits finds out by asking. */
  open(): void {
    void this.#broadcast.open();
  }

  /** Tells all listeners of all processes. */
  async tell(message: JobMessage): Promise<void> {
    try {
      await this.#connections.commands().publish(this.#name, JSON.stringify(message));
    } catch (error) {
      this.#log.debug({ err: error }, 'message not sent'); // They find out by asking.
    }
  }

  /** Lets go of the subscriber, which stays open. */
  close(): void {
    this.#listeners.clear();
    this.#broadcast.close();
  }

  #hear(text: string): void {
    const message = parse(text);
    if (message) for (const listener of this.#listeners) listener(message);
  }
}

function parse(text: string): JobMessage | undefined {
  try {
    const { queue, id, reason } = JSON.parse(text) as Partial<JobMessage>;
    if (typeof queue !== 'string' || typeof id !== 'string') return undefined;
    return { queue, id, ...(typeof reason === 'string' && { reason }) };
  } catch {
    return undefined; // Not one of ours: anybody may publish.
  }
}
