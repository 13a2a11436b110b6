/** The platform on a Redis that it is given. The embedded one has tests of its own. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPlatform, type PlatformOptions } from '../src/platform.ts';
import { clientsOf } from './support/client-list.ts';
import { eventually } from './support/eventually.ts';
import { expectNoSecret, failureOf, timed } from './support/failures.ts';
import { collectLog } from './support/log-lines.ts';
import { ownedByTest } from './support/owned.ts';
import { freePort, startRedis, type TestServer } from './support/servers.ts';
import { startStranger } from './support/strangers.ts';

const own = ownedByTest();
const SECRET = 'wr0ng-passw0rd';
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

/** A platform that is stopped after the test, and says nothing. */
function platformOn(url: string, options: PlatformOptions = {}) {
  return own(createPlatform({ log: { level: 'silent' }, ...options, redis: { url, ...options.redis } }));
}

describe('the options', () => {
  test.each<[unknown, string]>([
    [{ prefx: 'shop' }, 'createPlatform: unknown option prefx, did you mean prefix?'],
    [{ redis: { passwrd: 'x' } }, 'unknown option passwrd, did you mean password?'],
    [{ redis: { url: 'localhost:6379' } }, 'did you mean redis://localhost:6379?'],
    [{ embedded: { foldr: 'x' } }, 'unknown option embedded.foldr'],
    [{ log: { levl: 'debug' } }, 'unknown option levl, did you mean level?'],
    [{ prefix: 'a b' }, 'prefix: expected letters, digits and _ . - only'],
    [{ redis: 'redis://localhost' }, 'redis: expected an object'],
    [{ onProgress: 'loud' }, 'onProgress: expected a function'],
  ])('%j is refused at once', (options, message) => {
    const create = () => createPlatform(options as PlatformOptions);
    expect(create).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }));
    expect(create).toThrow(message);
  });

  test('a password in a bad URL stays out of the message', async () => {
    const creating = Promise.resolve().then(() => createPlatform({ redis: { url: `http://me:${SECRET}@localhost` } }));
    const error = await failureOf(creating, 'OPTIONS_INVALID');
    expect(error.message).toContain('***@localhost');
    expectNoSecret(SECRET, error);
  });
});

describe('start and stop', () => {
  test('open and close the connections', async () => {
    const platform = platformOn(server.url);
    expect(platform.summary()).toEqual([]);
    await platform.start();
    expect(platform.summary()).toEqual([`Redis      ${await nameOf(server)} at redis://${server.address}/0`]);
    await platform.redis.commands().set('greeting', 'hello');
    expect(await clientsOf(server)).toHaveLength(1);
    await platform.stop();
    await eventually(async () => expect(await clientsOf(server)).toEqual([]));
    expect(platform.summary()).toEqual([]);
  });

  test('may each be called twice, at once and one after the other', async () => {
    const platform = platformOn(server.url);
    await Promise.all([platform.start(), platform.start()]);
    const { redis } = platform;
    await platform.start();
    expect(platform.redis).toBe(redis);
    await Promise.all([platform.stop(), platform.stop()]);
    await platform.stop();
  });

  test('may meet: a stop during the start waits for it, and closes what it opened', async () => {
    const platform = platformOn(server.url);
    const starting = platform.start();
    await platform.stop();
    await starting;
    expect(() => platform.redis).toThrow('the platform has been stopped');
    expect(await clientsOf(server)).toEqual([]);
  });

  test('a stop before any start is final', async () => {
    const platform = platformOn(server.url);
    await platform.stop();
    const error = await failureOf(platform.start(), 'CLOSED');
    expect(error.message).toBe('the platform has been stopped; create a new one');
  });

  test('the connections are there only in between', async () => {
    const platform = platformOn(server.url);
    const use = () => Promise.resolve().then(() => platform.redis);
    expect((await failureOf(use(), 'CLOSED')).message).toBe('the platform has not been started; await start()');
    await failureOf(
      Promise.resolve().then(() => platform.diagnose()),
      'CLOSED',
    );
    await platform.start();
    expect((await platform.diagnose()).address).toBe(`redis://${server.address}/0`);
    await platform.stop();
    expect((await failureOf(use(), 'CLOSED')).message).toBe('the platform has been stopped');
  });

  test('a start that fails tells the cause each time, leaves nothing open, and may be stopped', async () => {
    const platform = platformOn(`redis://127.0.0.1:${await freePort()}`);
    const error = await failureOf(platform.start(), 'REDIS_UNREACHABLE');
    expect(error.message).toContain('nothing listens there');
    await failureOf(platform.start(), 'REDIS_UNREACHABLE');
    expect((await platform.ready()).ok).toBe(false);
    await platform.stop();
  });

  test('a start on something that never answers fails within the connect timeout', async () => {
    const stranger = own(await startStranger());
    const platform = platformOn(stranger.url, { redis: { connectTimeout: 200 } });
    expect((await timed(failureOf(platform.start(), 'REDIS_TIMEOUT'))).ms).toBeLessThan(1_500);
    expect(stranger.visits).toBe(1);
  });

  test('a refused password appears in no error and no log line', async () => {
    const locked = own(await startRedis({ config: { requirepass: 'r1ght-passw0rd' } }));
    const lines: string[] = [];
    const destination = { write: (line: string) => void lines.push(line) };
    const url = `redis://:${SECRET}@${locked.address}`;
    const platform = own(createPlatform({ redis: { url }, log: { level: 'trace', format: 'json', destination } }));
    const error = await failureOf(platform.start(), 'REDIS_AUTH_FAILED');
    expectNoSecret(SECRET, error, error.cause);
    platform.log.error({ err: error, url }, `cannot start with ${SECRET}`);
    expect(lines).toHaveLength(1);
    expectNoSecret(SECRET, lines);
  });

  test('a platform that was given a logger uses it', async () => {
    const other = own(await startRedis({ config: { 'maxmemory-policy': 'allkeys-lru' } }));
    const lines = collectLog();
    const platform = platformOn(other.url, { log: lines.log });
    await platform.start();
    expect(lines.all()).toEqual([expect.objectContaining({ module: 'redis', policy: 'allkeys-lru' })]);
  });
});

describe('health', () => {
  test('is ready from start to stop, and alive until stop', async () => {
    const platform = platformOn(server.url);
    expect(await platform.alive()).toMatchObject({ ok: true });
    expect(await platform.ready()).toEqual({
      ok: false,
      checks: {
        platform: { ok: false, reason: 'starting' },
        redis: { ok: false, reason: 'not connected yet' },
        workers: { ok: true },
        consumers: { ok: true },
      },
    });
    await platform.start();
    expect(await platform.ready()).toEqual({
      ok: true,
      checks: { platform: { ok: true }, redis: { ok: true }, workers: { ok: true }, consumers: { ok: true } },
    });
    await platform.stop();
    expect(await platform.alive()).toMatchObject({ ok: false, checks: { platform: { reason: 'stopping' } } });
    expect((await platform.ready()).ok).toBe(false);
  });

  test('with a frozen server is not ready within a second or so, alive, and ready again by itself', async () => {
    const other = own(await startRedis());
    const platform = platformOn(other.url);
    await platform.start();
    expect((await platform.ready()).ok).toBe(true);
    other.freeze();
    const { value: health, ms } = await timed(platform.ready());
    expect(ms).toBeLessThan(2_000);
    expect(health.checks['redis']).toEqual({
      ok: false,
      reason: `Redis at redis://${other.address}/0: no answer in 1000 ms`,
    });
    expect((await platform.alive()).ok).toBe(true);
    other.thaw();
    await eventually(async () => expect((await platform.ready()).ok).toBe(true));
  });

  test('with a killed server is not ready, says why, alive, and ready again by itself', async () => {
    const other = own(await startRedis());
    const platform = platformOn(other.url);
    await platform.start();
    expect((await platform.ready()).ok).toBe(true);
    await other.kill();
    const { value: health, ms } = await timed(platform.ready());
    expect(ms).toBeLessThan(2_000);
    expect(health.checks['redis']?.reason).toMatch(/: (nothing listens there|the connection is lost)/);
    expect((await platform.alive()).ok).toBe(true);
    await other.startAgain();
    await eventually(async () => expect((await platform.ready()).ok).toBe(true));
  });

  test('with a server that became a replica is not ready, says why, and ready again when it is a master', async () => {
    const other = own(await startRedis());
    const platform = platformOn(other.url);
    await platform.start();
    expect((await platform.ready()).ok).toBe(true);
    await other.ask((redis) => redis.replicaof('127.0.0.1', 1));
    const { value: health, ms } = await timed(platform.ready());
    expect(ms).toBeLessThan(1_500);
    expect(health.checks['redis']?.reason).toContain('the server is a replica and takes no writes');
    expect((await platform.alive()).ok).toBe(true);
    await other.ask((redis) => redis.replicaof('NO', 'ONE'));
    await eventually(async () => expect((await platform.ready()).ok).toBe(true));
  });

  test('with a server that is out of memory is not ready, and says why', async () => {
    const other = own(await startRedis());
    const platform = platformOn(other.url);
    await platform.start();
    await other.ask((redis) => redis.config('SET', 'maxmemory', 1_000));
    expect((await platform.ready()).checks['redis']?.reason).toContain('it has reached maxmemory');
  });
});

async function nameOf(one: TestServer): Promise<string> {
  const { kind, version } = await one.info();
  return `${kind === 'valkey' ? 'Valkey' : 'Redis'} ${version}`;
}
