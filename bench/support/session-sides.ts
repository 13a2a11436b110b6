/** The sides of the benches of sessions: ours and connect-redis. Each has a connection of its own. */
import type { SessionData, Store } from 'express-session';
import type * as ConnectModule from '../../src/redis/connect.ts';
import type * as SessionModule from '../../src/session/sessions.ts';
import { importCompiled } from './compiled.ts';
import { importPeer } from './peers.ts';

/** What both sides can do. */
export interface SessionSide {
  /** Begins a session of each user. */
  fill(userIds: readonly string[]): Promise<void>;
  /** What a request does with one of them, by its number: knows who it is, and that it was used. */
  validate(number: number): Promise<void>;
  /** Ends all sessions of a user. @returns how many there were */
  revokeAll(userId: string): Promise<number>;
  close(): Promise<void>;
}

/** What an app keeps beside the user: about 290 bytes of JSON, as those of a session of express-session are. */
const DATA = { theme: 'dark', locale: 'nb-NO', cart: ['sku-4711', 'sku-4712'], csrf: 'x'.repeat(24), flash: [] };
/** Sessions that are begun at once. */
const AT_ONCE = 500;
/** A machine that stalls is not taken for an outage. */
const DEADLINE = '30s';

/** Ours, as createSessions() gives it: one command as long as neither a slide nor another token is due. */
export async function oursOn(url: string): Promise<SessionSide> {
  const { createConnections } = await importCompiled<typeof ConnectModule>('redis/connect.ts');
  const { createSessions } = await importCompiled<typeof SessionModule>('session/sessions.ts');
  const connections = createConnections({ url });
  const sessions = createSessions(connections, { deadline: DEADLINE, secret: 'a pepper, as the docs lead to' });
  const realm = sessions.realm('web', { idle: '1d', absolute: '30d', maxPerUser: 100 });
  const tokens: string[] = [];
  return {
    fill: (userIds) =>
      inChunks(userIds, async (userId) => {
        const { token } = await realm.create(userId, { data: DATA, device: { ip: '192.0.2.1', userAgent: 'bench' } });
        tokens.push(token);
      }),
    async validate(number) {
      const { ok } = await realm.validate(tokens[number % tokens.length] as string);
      if (!ok) throw new Error('a session has gone');
    },
    revokeAll: (userId) => realm.revokeAll(userId),
    async close() {
      await sessions.stop();
      await connections.close();
    },
  };
}

interface ConnectRedis {
  RedisStore: new (options: { client: unknown; prefix: string; ttl: number }) => Pick<Store, never> & {
    get(id: string): Promise<SessionData | null>;
    set(id: string, session: SessionData): Promise<void>;
    touch(id: string, session: SessionData): Promise<void>;
    destroy(id: string): Promise<void>;
    all(): Promise<Array<SessionData & { id: string; userId: string }>>;
  };
}

interface NodeRedis {
  createClient(options: { socket: { path: string } }): { connect(): Promise<unknown>; close(): Promise<unknown> };
}

const COOKIE = { path: '/', httpOnly: true, originalMaxAge: 86_400_000, expires: '2036-11-22T12:00:00.000Z' };

/**
 * connect-redis on node-redis, the only client that it knows: get and touch, as express-session does with each request; all sessions are read
 * to find those of one user. Undefined when it is not installed.
 */
export async function connectRedisOn(url: string): Promise<SessionSide | undefined> {
  const [library, nodeRedis] = [await importPeer<ConnectRedis>('connect-redis'), await importPeer<NodeRedis>('redis')];
  if (!library || !nodeRedis) return undefined;
  const client = nodeRedis.createClient({ socket: { path: url.slice('unix://'.length) } });
  await client.connect();
  const store = new library.RedisStore({ client, prefix: 'sess:', ttl: 86_400 });
  const ids: string[] = [];
  return {
    fill: (userIds) =>
      inChunks(userIds, async (userId) => {
        const id = `${ids.length}`.padStart(32, 's');
        ids.push(id);
        await store.set(id, {
          cookie: COOKIE,
          userId,
          device: { ip: '192.0.2.1', userAgent: 'bench' },
          ...DATA,
        } as never);
      }),
    async validate(number) {
      const id = ids[number % ids.length] as string;
      const session = await store.get(id);
      if (!session) throw new Error('a session has gone');
      await store.touch(id, session);
    },
    async revokeAll(userId) {
      const own = (await store.all()).filter((session) => session.userId === userId);
      for (const { id } of own) await store.destroy(id);
      return own.length;
    },
    close: async () => void (await client.close()),
  };
}

async function inChunks(userIds: readonly string[], begin: (userId: string) => Promise<void>): Promise<void> {
  for (let from = 0; from < userIds.length; from += AT_ONCE)
    await Promise.all(userIds.slice(from, from + AT_ONCE).map(begin));
}
