/**
 * The connections of one process: one client per role, opened on first use, closed in reverse order.
 *
 * Every client has an `error` listener, so a lost server never ends the process; the loss and the return are logged once
 * each, not once an attempt. Nothing but this folder creates clients.
 */
import { hostname } from 'node:os';
import { Cluster, type Redis } from 'ioredis';
import { systemClock, withDeadline } from '../clock.ts';
import { formatMs } from '../durations.ts';
import { MillraceError } from '../errors.ts';
import { silentLogger, type Logger } from '../log.ts';
import { parseAddress, type Address, type HostPort, type RedisOptions, type Topology } from './address.ts';
import { readCapabilities, type Capabilities } from './capabilities.ts';
import { createIoRedis, createNodeRedis, type RedisClient, type Role, type SearchClient } from './clients.ts';
import { explainRedisError } from './explain.ts';
import { type ServerInfo } from './server-info.ts';
import { verifyServer } from './verify.ts';

/** How long close() waits, for all clients together, for commands that are under way before it hangs up. */
const CLOSE_WITHIN_MS = 1_000;
/** How long it then waits for a client to have hung up. */
const HANG_UP_WITHIN_MS = 500;

/** All connections of one process to one Redis. */
export interface Connections {
  readonly topology: Topology;
  /** Where the server is, without any secret. */
  readonly label: string;
  /** Looks at the server with a connection of its own. @throws MillraceError that says what is wrong. */
  verify(options?: { oldest?: string | undefined }): Promise<ServerInfo>;
  /** What the server can do; asked once per connection, and again after a failover. */
  capabilities(): Promise<Capabilities>;
  /** Why the `commands` client has no connection now; undefined while it has one, or was not used yet. */
  outage(): MillraceError | undefined;
  /** For BullMQ. */
  queue(): RedisClient;
  /** For everything that is asked and answered. */
  commands(): RedisClient;
  /** For pub/sub. */
  subscriber(): RedisClient;
  /** A new client for a loop of blocking reads, named after its purpose; its owner may close it before the others. */
  blocking(purpose: string): RedisClient;
  /**
   * A new client for WATCH, MULTI, EXEC on keys that share the tag of this one; on a Cluster it goes to the node that serves them
   * now. It never comes back once its connection is lost: from then on its commands fail, and its owner asks for another one, as he
   * does when the answer is MOVED. He may close it before the others.
   *
   * @throws MillraceError when no node of the Cluster can be asked who serves the key.
   */
  transaction(key: string): Promise<Redis>;
  /** For vectors and the Query Engine. @throws MillraceError when it cannot connect; the next call tries again. */
  search(): Promise<SearchClient>;
  /** Closes what was opened, the latest first. Safe to call twice. */
  close(): Promise<void>;
}

interface Opened {
  close: (withinMs: number) => Promise<void>;
}

/**
 * The connections that the options describe. Opens nothing yet.
 *
 * @example
 * const connections = createConnections({ url: 'redis://127.0.0.1:6379' });
 * await connections.verify();
 * await connections.commands().set('greeting', 'hello');
 * await connections.close();
 * @throws MillraceError OPTIONS_INVALID
 */
export function createConnections(options: RedisOptions, log: Logger = silentLogger): Connections {
  return new LazyConnections(parseAddress(options), log);
}

class LazyConnections implements Connections {
  readonly #address: Address;
  readonly #log: Logger;
  readonly #clients = new Map<Role, RedisClient>();
  #opened: Opened[] = [];
  #search: Promise<SearchClient> | undefined;
  #capabilities: Promise<Capabilities> | undefined;
  #closing: Promise<void> | undefined;
  readonly #outages = new Map<string, MillraceError>();

  constructor(address: Address, log: Logger) {
    this.#address = address;
    this.#log = log;
  }

  get topology(): Topology {
    return this.#address.endpoint.topology;
  }

  get label(): string {
    return this.#address.label;
  }

  async verify(options: { oldest?: string | undefined } = {}): Promise<ServerInfo> {
    return verifyServer(this.#address, this.#log, options);
  }

  async capabilities(): Promise<Capabilities> {
    const asked = (this.#capabilities ??= readCapabilities(this.commands()));
    try {
      return await asked;
    } catch (error) {
      if (this.#capabilities === asked) this.#capabilities = undefined;
      throw explainRedisError(error, this.label);
    }
  }

  outage(): MillraceError | undefined {
    return this.#clients.get('commands')?.status === 'ready' ? undefined : this.#outages.get('commands');
  }

  queue(): RedisClient {
    return this.#shared('queue');
  }

  commands(): RedisClient {
    return this.#shared('commands');
  }

  subscriber(): RedisClient {
    return this.#shared('subscriber');
  }

  blocking(purpose: string): RedisClient {
    return this.#open('blocking', purpose);
  }

  async transaction(key: string): Promise<Redis> {
    const node = this.topology === 'cluster' ? await this.#nodeOf(key) : undefined;
    return this.#open('transaction', undefined, node) as Redis;
  }

  async search(): Promise<SearchClient> {
    this.#checkOpen();
    const connecting = (this.#search ??= this.#connectSearch());
    try {
      return await connecting;
    } catch (error) {
      if (this.#search === connecting) this.#search = undefined;
      throw error;
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    return this.#closing;
  }

  #shared(role: Exclude<Role, 'search' | 'blocking' | 'transaction'>): RedisClient {
    this.#checkOpen();
    let client = this.#clients.get(role);
    if (!client) {
      client = this.#open(role);
      this.#clients.set(role, client);
      if (role === 'commands') this.#forgetCapabilitiesOnChange(client);
    }
    return client;
  }

  #open(role: Exclude<Role, 'search'>, purpose?: string, node?: HostPort): RedisClient {
    this.#checkOpen();
    const client = createIoRedis(this.#address, role, this.#nameOf(role, purpose), node);
    if (role === 'transaction') {
      // Its commands fail, and nothing is retried: that is for its owner to tell of.
      client.on('error', (error: Error) => this.#log.debug({ role }, explainRedisError(error, this.label).message));
    } else {
      this.#watch(client, purpose === undefined ? role : `${role} ${purpose}`);
    }
    const opened: Opened = { close: (withinMs) => closeIoRedis(client, role, withinMs) };
    this.#opened.push(opened);
    client.once('end', () => (this.#opened = this.#opened.filter((other) => other !== opened)));
    return client;
  }

  /** Who serves the key now, which `commands` may have learnt a while ago: so it asks again. */
  async #nodeOf(key: string): Promise<HostPort> {
    const cluster = this.commands() as Cluster;
    try {
      const slot = await cluster.cluster('KEYSLOT', key);
      await new Promise<void>((resolve, reject) => {
        cluster.refreshSlotsCache((error) => (error ? reject(error) : resolve()));
      });
      const [master] = (cluster as unknown as { slots: string[][] }).slots[slot] ?? [];
      for (const { options } of cluster.nodes('master')) {
        const { host, port } = options;
        if (host !== undefined && port !== undefined && `${host}:${port}` === master) return { host, port };
      }
    } catch (error) {
      throw explainRedisError(error, this.label);
    }
    throw new MillraceError('REDIS_CLUSTER_DOWN', `${this.label}: no node serves the slot of ${key}`, { key });
  }

  async #connectSearch(): Promise<SearchClient> {
    const client = await createNodeRedis(this.#address, this.#nameOf('search'));
    this.#checkOpen(); // close() may have come while the library was loaded.
    const outage = this.#outageLog('search');
    client.on('error', outage.lost);
    client.on('ready', outage.back);
    let giveUp: ((reason: MillraceError) => void) | undefined;
    const givenUp = new Promise<never>((_resolve, reject) => (giveUp = reject));
    const opened: Opened = {
      close: async (withinMs) => {
        giveUp?.(closedError());
        await closeNodeRedis(client, withinMs);
      },
    };
    this.#opened.push(opened);
    try {
      await withDeadline<unknown>(
        Promise.race([client.connect(), givenUp]),
        this.#address.connectTimeoutMs,
        () => new Error('ETIMEDOUT no connection'),
      );
      return client;
    } catch (error) {
      this.#opened = this.#opened.filter((other) => other !== opened);
      await destroy(client);
      throw explainRedisError(error, this.label);
    }
  }

  #watch(client: RedisClient, name: string): void {
    const outage = this.#outageLog(name);
    client.on('error', outage.lost);
    client.on('ready', outage.back);
    if (client.isCluster) {
      client.on('node error', (error: Error, node: string) => {
        this.#log.debug({ role: name, node }, explainRedisError(error, node).message);
      });
    }
  }

  /** Logs the first error of an outage, each new kind of error within it, and its end. */
  #outageLog(role: string): { lost: (error: unknown) => void; back: () => void } {
    let since: number | undefined;
    return {
      lost: (error) => {
        const explained = explainRedisError(error, this.label);
        const isNew = explained.code !== this.#outages.get(role)?.code;
        since ??= systemClock.monotonicMs();
        this.#outages.set(role, explained);
        if (isNew) this.#log.warn({ role, code: explained.code }, `${explained.message}; retrying`);
      },
      back: () => {
        if (since === undefined) return;
        this.#log.info({ role }, `connected to Redis again after ${formatMs(systemClock.monotonicMs() - since)}`);
        since = undefined;
        this.#outages.delete(role);
      },
    };
  }

  #forgetCapabilitiesOnChange(client: RedisClient): void {
    const forget = (): void => {
      this.#capabilities = undefined;
    };
    if (!(client instanceof Cluster)) {
      client.on('close', forget);
      return;
    }
    let masters = '';
    client.on('refresh', () => {
      const now = client
        .nodes('master')
        .map(({ options }) => `${options.host}:${options.port}`)
        .toSorted()
        .join();
      if (masters !== '' && now !== masters) forget();
      masters = now;
    });
  }

  /** `millrace:commands:web-1:4711`: CLIENT LIST then tells who holds which connection. */
  #nameOf(role: Role, purpose?: string): string {
    const parts = [this.#address.name, role, purpose, hostname(), String(process.pid)];
    return parts
      .filter((part) => part !== undefined)
      .join(':')
      .replaceAll(/[^\w.:-]/g, '-');
  }

  #checkOpen(): void {
    if (this.#closing) throw closedError();
  }

  async #closeAll(): Promise<void> {
    const deadline = systemClock.monotonicMs() + CLOSE_WITHIN_MS;
    for (const { close } of this.#opened.toReversed()) await close(deadline - systemClock.monotonicMs());
    this.#opened = [];
  }
}

function closedError(): MillraceError {
  return new MillraceError('CLOSED', 'the connections to Redis have been closed', {});
}

/** Says goodbye where somebody may still wait for an answer; hangs up where nobody does, or where the goodbye is not answered. */
async function closeIoRedis(client: RedisClient, role: Role, withinMs: number): Promise<void> {
  if (client.status === 'end') return;
  const ended = new Promise<void>((resolve) => client.once('end', () => resolve()));
  if (client.status === 'ready' && role !== 'blocking' && withinMs > 0) {
    const goodbye = withDeadline(client.quit(), withinMs, () => new Error('no answer to QUIT'));
    await goodbye.then(undefined, () => hangUp(client));
  } else {
    hangUp(client);
  }
  await withDeadline(ended, HANG_UP_WITHIN_MS, () => new Error('no end')).catch(() => undefined); // The socket is destroyed all the same.
}

/**
 * Ends a client at once, in whatever state it is; what waits for an answer fails. Between two attempts to connect, ioredis gives up without
 * telling anybody: what waits for the connection would wait for ever.
 */
export function hangUp(client: RedisClient): void {
  const isBetweenAttempts = client.status === 'reconnecting';
  client.disconnect();
  if (!isBetweenAttempts) return;
  if (client instanceof Cluster) {
    (client as unknown as { handleCloseEvent: () => void }).handleCloseEvent();
  } else {
    client.connect().catch(() => undefined); // An attempt that is broken off at once ends the client as it should.
    client.disconnect();
  }
}

async function closeNodeRedis(client: SearchClient, withinMs: number): Promise<void> {
  const goodbye = withDeadline(client.close(), Math.max(0, withinMs), () => new Error('no answer'));
  await goodbye.then(undefined, () => destroy(client));
}

async function destroy(client: SearchClient): Promise<void> {
  try {
    await (client.destroy() as void | Promise<void>); // A promise of Sentinel clients only.
  } catch {
    return; // It never opened, or has closed by itself.
  }
}
