/**
 * Waits until replicas have a lock too, so that a failover to one of them does not lose it.
 *
 *   collecting --no round is under way--> renewing --each still holds--> waiting --WAIT answers--> told
 *
 * Redis replicates after it has answered: a master that dies at once takes a granted lock with it. WAIT tells how many replicas have
 * what a connection wrote. It holds up all that comes after it on the connection, so it has one of its own, on which the lease is first
 * renewed: that write comes after the grant, fails when the lock is no longer there (as after a failover), and is what WAIT waits for.
 * Those who come while a round is under way share the next one, so that nobody waits for the patience of many others.
 *
 * Promise: when it resolves, that many replicas had the lock. It makes a lost lock rarer, not impossible: a failover may still choose a
 * replica that had it not, so what must be safe needs the token besides.
 * Redis down: it rejects within the time that was given, and half a second.
 */
import { withDeadline } from '../clock.ts';
import { formatMs } from '../durations.ts';
import { MillraceError } from '../errors.ts';
import type { ClusterClient, RedisClient, SingleClient } from '../redis/clients.ts';
import type { Connections } from '../redis/connect.ts';
import { explainRedisError } from '../redis/explain.ts';

/** Beyond the time that was given, for the renewal before and the way back. */
const SLACK_MS = 500;

/** How many replicas, and how long they have. */
export interface ReplicasWanted {
  readonly count: number;
  readonly withinMs: number;
}

/** Renews the lease by the connection that is given; false when the lock is not held there. */
export type Renew = (client: SingleClient) => Promise<boolean>;

interface Caller extends ReplicasWanted {
  readonly renew: Renew;
  readonly resolve: (acknowledged: number) => void;
  readonly reject: (error: unknown) => void;
}

/** Rounds of one server. */
interface Rounds {
  next: Caller[];
  isUnderWay: boolean;
}

/** Asks replicas, by a connection that is opened with the first question. */
export class Replicas {
  readonly #connections: Pick<Connections, 'blocking' | 'label'>;
  readonly #rounds = new WeakMap<SingleClient, Rounds>();
  /** How many questions are under way by each connection. */
  readonly #asking = new Map<RedisClient, number>();
  /** For the next question. */
  #client: RedisClient | undefined;

  constructor(connections: Pick<Connections, 'blocking' | 'label'>) {
    this.#connections = connections;
  }

  /**
   * Resolves once the replicas have the lock.
   *
   * @param key A key of the lock, which tells the node of a Cluster.
   * @throws MillraceError LOCK_REPLICAS_MISSING: too few had it in time, or they could not be asked. The lock may still be held then.
   */
  async mustHave(key: string, wanted: ReplicasWanted, renew: Renew): Promise<void> {
    const { count, withinMs } = wanted;
    const facts = { key, wanted: count, withinMs };
    let acknowledged: number;
    try {
      acknowledged = await this.#askInTime(key, wanted, renew);
    } catch (error) {
      const cause = explainRedisError(error, this.#connections.label);
      const message = `${key}: replicas could not be asked whether they have the lock`;
      throw new MillraceError('LOCK_REPLICAS_MISSING', message, { ...facts, acknowledged: 0, cause });
    }
    if (acknowledged >= count) return;
    const message = `${key}: ${acknowledged} of ${count} replicas had the lock within ${formatMs(withinMs)}`;
    throw new MillraceError('LOCK_REPLICAS_MISSING', message, { ...facts, acknowledged });
  }

  /** Hangs up. Another question opens a connection again. */
  close(): void {
    for (const client of this.#asking.keys()) client.disconnect();
    this.#client?.disconnect();
    this.#client = undefined;
  }

  async #askInTime(key: string, wanted: ReplicasWanted, renew: Renew): Promise<number> {
    this.#client ??= this.#connections.blocking('lock-replicas');
    const client = this.#client;
    this.#asking.set(client, (this.#asking.get(client) ?? 0) + 1);
    try {
      return await withDeadline(this.#ask(client, key, wanted, renew), wanted.withinMs + SLACK_MS, () => {
        // A frozen server, or a patient question before this one. The next one gets a connection that does not hang behind it.
        if (this.#client === client) this.#client = undefined;
        const message = `${this.#connections.label}: no answer within ${formatMs(wanted.withinMs)}`;
        return new MillraceError('REDIS_TIMEOUT', message);
      });
    } finally {
      this.#hangUpUnlessNeeded(client);
    }
  }

  /** Others may still have time for their answer by the connection that hangs. */
  #hangUpUnlessNeeded(client: RedisClient): void {
    const others = (this.#asking.get(client) ?? 1) - 1;
    if (others > 0) this.#asking.set(client, others);
    else this.#asking.delete(client);
    if (others === 0 && this.#client !== client) client.disconnect();
  }

  async #ask(client: RedisClient, key: string, wanted: ReplicasWanted, renew: Renew): Promise<number> {
    if (!client.isCluster) return this.#join(client as SingleClient, wanted, renew);
    const cluster = client as ClusterClient;
    try {
      return await this.#join(await nodeOf(cluster, key), wanted, renew);
    } catch {
      // The slot has another master by now, or the connection to it was lost. The renewal may be repeated.
      await new Promise<void>((resolve, reject) => {
        cluster.refreshSlotsCache((error) => (error ? reject(error) : resolve()));
      });
      return this.#join(await nodeOf(cluster, key), wanted, renew);
    }
  }

  #join(node: SingleClient, wanted: ReplicasWanted, renew: Renew): Promise<number> {
    let rounds = this.#rounds.get(node);
    if (!rounds) this.#rounds.set(node, (rounds = { next: [], isUnderWay: false }));
    const { next } = rounds;
    const answer = new Promise<number>((resolve, reject) => next.push({ ...wanted, renew, resolve, reject }));
    if (!rounds.isUnderWay) void runRounds(node, rounds);
    return answer;
  }
}

/** Settles all callers, round by round; rejects never. */
async function runRounds(node: SingleClient, rounds: Rounds): Promise<void> {
  rounds.isUnderWay = true;
  while (rounds.next.length > 0) {
    const callers = rounds.next.splice(0);
    const holding = (await Promise.all(callers.map((caller) => renewed(node, caller)))).filter(
      (caller) => caller !== undefined,
    );
    await waitFor(node, holding);
  }
  rounds.isUnderWay = false;
}

async function renewed(node: SingleClient, caller: Caller): Promise<Caller | undefined> {
  try {
    if (await caller.renew(node)) return caller;
    caller.resolve(0);
  } catch (error) {
    caller.reject(error);
  }
  return undefined;
}

/** Those who want few replicas are told first: they must not wait for more. */
async function waitFor(node: SingleClient, callers: readonly Caller[]): Promise<void> {
  const counts = [...new Set(callers.map(({ count }) => count))].toSorted((left, right) => left - right);
  for (const count of counts) {
    const group = callers.filter((caller) => caller.count === count);
    try {
      const withinMs = Math.max(1, ...group.map((caller) => Math.ceil(caller.withinMs)));
      const acknowledged = await node.wait(count, withinMs);
      for (const caller of group) caller.resolve(acknowledged);
    } catch (error) {
      for (const caller of group) caller.reject(error);
    }
  }
}

async function nodeOf(cluster: ClusterClient, key: string): Promise<SingleClient> {
  const slot = await cluster.cluster('KEYSLOT', key);
  const [master] = (cluster as unknown as { slots: string[][] }).slots[slot] ?? [];
  for (const node of cluster.nodes('master')) {
    if (`${node.options.host}:${node.options.port}` === master) return node;
  }
  throw new MillraceError('REDIS_CLUSTER_DOWN', `no node of the Cluster serves the slot of ${key}`, { key });
}
