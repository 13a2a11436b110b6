/**
 * Messages between the processes of one platform: who shall be cancelled, who has finished.
 *
 * They are hints that make things quick; everything they say can also be read from Redis, and whoever waits for one asks there too.
 * One subscription a channel and process, on the shared subscriber.
 */
import type { Logger } from '../log.ts';
import type { RedisClient } from '../redis/clients.ts';
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
  readonly #listeners = new Set<(message: JobMessage) => void>();
  #subscriber: RedisClient | undefined;

  constructor(name: string, connections: Connections, log: Logger) {
    this.#name = name;
    this.#connections = connections;
    this.#log = log;
  }

  /** Calls the listener with each message from now on. @returns what ends that. */
  listen(listener: (message: JobMessage) => void): () => void {
    this.#listeners.add(listener);
    this.open();
    return () => this.#listeners.delete(listener);
  }

  /** Subscribes, if it has not yet; for whoever knows that he will listen soon. */
  open(): void {
    if (this.#subscriber) return;
    const subscriber = this.#connections.subscriber();
    this.#subscriber = subscriber;
    subscriber.on('message', this.#onMessage);
    // Until it is subscribed, and while it is not, whoever waits finds out by asking.
    subscriber.subscribe(this.#name).catch((error: unknown) => this.#log.debug({ err: error }, 'not subscribed'));
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
    this.#subscriber?.off('message', this.#onMessage);
    this.#subscriber = undefined;
  }

  readonly #onMessage = (channel: string, text: string): void => {
    if (channel !== this.#name) return;
    const message = parse(text);
    if (message) for (const listener of this.#listeners) listener(message);
  };
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
