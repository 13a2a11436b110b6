/**
 * Messages between the processes of one platform: who shall be cancelled, who is waited for, who has finished.
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

/** Jobs that somebody waits for, of any queue. */
export interface JobIds {
  ids: readonly string[];
}

interface Listener<Message> {
  onMessage: (message: Message) => void;
  onLive: (() => void) | undefined;
}

/** A channel of one process. */
export class Channel<Message = JobMessage> {
  readonly #name: string;
  readonly #connections: Connections;
  readonly #log: Logger;
  readonly #read: (said: unknown) => Message | undefined;
  readonly #broadcast: Broadcast;
  readonly #listeners = new Set<Listener<Message>>();

  /** @param read what is a message on the channel: anybody may publish. */
  constructor(name: string, connections: Connections, log: Logger, read: (said: unknown) => Message | undefined) {
    this.#name = name;
    this.#connections = connections;
    this.#log = log;
    this.#read = read;
    this.#broadcast = new Broadcast(name, connections, log, {
      onMessage: (text) => this.#hear(text),
      onLive: () => this.#listeners.forEach(({ onLive }) => onLive?.()),
    });
  }

  /** Calls back with each message from now on, and whenever messages may have been missed until now. @returns what ends that. */
  listen(onMessage: (message: Message) => void, onLive?: () => void): () => void {
    const listener = { onMessage, onLive };
    this.#listeners.add(listener);
    this.open();
    return () => this.#listeners.delete(listener);
  }

  /** Subscribes, if it has not yet; for whoever knows that he will listen soon. Until it is live, whoever waits finds out by asking. */
  open(): void {
    void this.#broadcast.open();
  }

  /** Tells all listeners of all processes. */
  async tell(message: Message): Promise<void> {
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
    const message = this.#read(parse(text));
    if (message) for (const { onMessage } of this.#listeners) onMessage(message);
  }
}

/** A message of one job. */
export function readMessage(said: unknown): JobMessage | undefined {
  const { queue, id, reason } = (said ?? {}) as Partial<JobMessage>;
  if (typeof queue !== 'string' || typeof id !== 'string') return undefined;
  return { queue, id, ...(typeof reason === 'string' && { reason }) };
}

/** A message of many jobs. */
export function readIds(said: unknown): JobIds | undefined {
  const { ids } = (said ?? {}) as Partial<JobIds>;
  return Array.isArray(ids) ? { ids: ids.filter((id) => typeof id === 'string') } : undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // Not one of ours.
  }
}
