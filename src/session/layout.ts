/** How sessions are kept on this server: chosen once a process, so that a server which comes back with other abilities hides no session. */
import type { Connections } from '../redis/connect.ts';
import type { Guard } from '../redis/guard.ts';

/** The layout, once it is known. */
export class Layout {
  readonly #connections: Pick<Connections, 'capabilities'>;
  readonly #guard: Guard;
  #known: 'fields' | 'keys' | undefined;

  /** @param pinned What the app has chosen. */
  constructor(
    connections: Pick<Connections, 'capabilities'>,
    guard: Guard,
    pinned: 'auto' | 'fields' | 'keys' | undefined,
  ) {
    this.#connections = connections;
    this.#guard = guard;
    this.#known = pinned === 'auto' ? undefined : pinned;
  }

  get known(): 'fields' | 'keys' | undefined {
    return this.#known;
  }

  /** Asks what the server can do. */
  async choose(): Promise<'fields' | 'keys'> {
    const { features } = await this.#guard.run(() => this.#connections.capabilities());
    this.#known ??= features.hashFieldSetWithTtl ? 'fields' : 'keys';
    return this.#known;
  }
}
