/**
 * How commands reach the server through the `search` client, which is of another kind on each topology.
 *
 * node-redis gives up a command only while it has not been written, so a frozen server would hold a search for ever: the guard's deadline
 * is what ends it. Maps come as flat lists: as objects, chunks named like numbers would change their order, and so their rank.
 */
import type { Connections } from '../redis/connect.ts';
import type { Guard } from '../redis/guard.ts';

/** A part of a command. */
export type Argument = string | Buffer;

/** A command: its name, the key it goes to, the rest. */
export type Command = readonly Argument[];

/** The connections that vectors use. */
export type VectorConnections = Pick<
  Connections,
  'commands' | 'search' | 'capabilities' | 'topology' | 'label' | 'outage'
>;

type Options = { typeMapping: Record<number, unknown> };
type ToOne = (args: Command, options: Options) => Promise<unknown>;
type ToSentinel = (isReadonly: boolean, args: Command, options: Options) => Promise<unknown>;
type ToCluster = (key: string | undefined, isReadonly: boolean, args: Command, options: Options) => Promise<unknown>;

/** The kinds of reply that are read differently from node-redis' default, by their first byte. */
const MAP = '%'.charCodeAt(0);
const BLOB_STRING = '$'.charCodeAt(0);
const TEXT: Options = { typeMapping: { [MAP]: Array } };
const BYTES: Options = { typeMapping: { [MAP]: Array, [BLOB_STRING]: Buffer } };

/** Sends commands to where their key is. */
export class SearchPort {
  readonly #connections: VectorConnections;
  readonly #guard: Guard;

  constructor(connections: VectorConnections, guard: Guard) {
    this.#connections = connections;
    this.#guard = guard;
  }

  /**
   * The answer, with maps as flat lists.
   *
   * @param key Undefined where any node of a Cluster may answer.
   * @throws MillraceError REDIS_*
   */
  async send<T>(key: string | undefined, command: Command, { isBinary = false } = {}): Promise<T> {
    const options = isBinary ? BYTES : TEXT;
    return this.#guard.run(async () => {
      const client = await this.#connections.search();
      const { sendCommand } = client as unknown as { sendCommand: unknown };
      switch (this.#connections.topology) {
        case 'standalone':
          return (sendCommand as ToOne).call(client, command, options) as Promise<T>;
        case 'sentinel':
          return (sendCommand as ToSentinel).call(client, false, command, options) as Promise<T>;
        case 'cluster':
          return (sendCommand as ToCluster).call(client, key, false, command, options) as Promise<T>;
      }
    });
  }
}
