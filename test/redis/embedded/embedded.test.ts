import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { describe, expect, inject, test } from 'vitest';
import { createPlatform } from '../../../src/platform.ts';
import { startEmbedded, type EmbeddedOptions, type EmbeddedRedis } from '../../../src/redis/embedded/embedded.ts';
import { isRunning } from '../../../src/redis/embedded/process-identity.ts';
import { ask } from '../../support/ask.ts';
import { askEmbedded, embeddedOptions, serverPid, startEmbeddedProcess } from '../../support/embedded.ts';
import { eventually } from '../../support/eventually.ts';
import { failureOf } from '../../support/failures.ts';
import { temporaryFolder } from '../../support/folders.ts';
import { collectLog } from '../../support/log-lines.ts';
import { ownedByTest } from '../../support/owned.ts';
import { processesNaming } from '../../support/process-table.ts';
import { shellCommand, writeProgram } from '../../support/programs.ts';
import { startRedis } from '../../support/servers.ts';
import { skipBecause } from '../../support/skips.ts';

const root = temporaryFolder();
const own = ownedByTest();
let folders = 0;

function newFolder(name = String((folders += 1))): string {
  return join(root, name);
}

async function start(folder: string, changes: Partial<EmbeddedOptions> = {}): Promise<EmbeddedRedis> {
  return own(await startEmbedded(embeddedOptions(folder, changes)));
}

const owners = (folder: string): string[] =>
  readdirSync(join(folder, 'redis')).filter((file) => file.startsWith('owner'));

describe('the first start in a folder', () => {
  test('owns a server that answers on a socket of this user and on a loopback port', async () => {
    const folder = newFolder();
    const embedded = await start(folder);
    expect(embedded).toMatchObject({ isOwner: true, folder: join(folder, 'redis') });
    expect(embedded.url).toBe(`unix://${join(folder, 'redis', 'redis.sock')}`);
    expect(statSync(join(folder, 'redis', 'redis.sock')).mode & 0o777).toBe(0o700);
    expect(await askEmbedded(embedded, (redis) => redis.ping())).toBe('PONG');
    expect(await ask({ port: embedded.port }, (redis) => redis.config('GET', 'bind'))).toEqual(['bind', '127.0.0.1']);
    expect(embedded.failure()).toBeUndefined();
  });

  test('keeps data as jobs need it: an append-only file, and nothing is evicted', async () => {
    const embedded = await start(newFolder());
    const settings = ['appendonly', 'appendfsync', 'maxmemory-policy'];
    const values = await askEmbedded(embedded, async (redis) =>
      Promise.all(settings.map(async (name) => (await redis.config('GET', name))[1])),
    );
    expect(values).toEqual(['yes', 'everysec', 'noeviction']);
  });

  test.each([
    ['spaces, quotes and signs', String.raw`my "odd" pröject's [#1] 50% ? * dir`],
    ['a long name, which no socket can have', 'long-'.repeat(30)],
  ])('works in a folder with %s', async (_what, name) => {
    const folder = newFolder(name);
    const embedded = await start(folder);
    expect(await askEmbedded(embedded, (redis) => redis.ping())).toBe('PONG');
    const guest = await start(folder);
    expect(guest).toMatchObject({ isOwner: false, url: embedded.url, port: embedded.port });
  });

  test('that fails lets go of the folder, and the next one can have it', async () => {
    const folder = newFolder();
    const broken = writeProgram(
      join(root, 'programs'),
      'broken',
      '[ "$1" = --version ] && echo "Redis server v=8.0.0"',
    );
    await failureOf(startEmbedded(embeddedOptions(folder, { server: broken })), 'SERVER_START_FAILED');
    expect((await start(folder)).isOwner).toBe(true);
  });
});

describe('a later start in the same folder', () => {
  test('by another process uses the same server, and leaves it running', async () => {
    const folder = newFolder();
    const embedded = await start(folder);
    await askEmbedded(embedded, (redis) => redis.set('key', 'of the owner'));
    const guest = own(startEmbeddedProcess(folder));
    expect(JSON.parse(await guest.says('guest'))).toEqual({ url: embedded.url, port: embedded.port });
    guest.signal('SIGTERM');
    expect(await guest.ended).toBe(0);
    expect(await askEmbedded(embedded, (redis) => redis.get('key'))).toBe('of the owner');
  });

  test('by the same process uses the same server too: two platforms share their data', async () => {
    const folder = newFolder();
    const { server } = embeddedOptions(folder);
    const { cacheFolder } = embeddedOptions(folder);
    const options = { embedded: { folder, server, cacheFolder }, log: collectLog().log };
    const [first, second] = [own(createPlatform(options)), own(createPlatform(options))];
    await first.start();
    await second.start();
    await first.redis.commands().set('key', 'shared');
    expect(await second.redis.commands().get('key')).toBe('shared');
    expect(second.summary()[0]).toContain('of another process in this folder');
    expect((await second.ready()).ok).toBe(true);
  });

  test('at the same moment: one owns the server and all use it', async () => {
    const folder = newFolder();
    const children = Array.from({ length: 2 }, () => own(startEmbeddedProcess(folder)));
    const here = await Promise.all(Array.from({ length: 3 }, () => start(folder)));
    const roles = await Promise.all(children.map((child) => child.says(/^(owner|guest) /)));
    const isOwner = [...here.map((one) => one.isOwner), ...roles.map((role) => role.startsWith('owner'))];
    expect(isOwner.filter(Boolean)).toHaveLength(1);
    expect(new Set(here.map(({ url }) => url)).size).toBe(1);
    for (const one of here) expect(await askEmbedded(one, (redis) => redis.ping())).toBe('PONG');
    expect(owners(folder)).toHaveLength(1);
    for (const child of children) child.signal('SIGTERM');
    await Promise.all(children.map(({ ended }) => ended));
  });

  test('while the owner stops waits for that, and becomes the owner', async () => {
    const folder = newFolder();
    const first = await start(folder);
    const pid = serverPid(folder);
    process.kill(pid, 'SIGSTOP');
    const stopping = first.stop();
    const steps: string[] = [];
    const starting = start(folder, { onProgress: ({ step }) => void steps.push(step) });
    await eventually(() => expect(steps[0]).toContain('which is stopping or restarting Redis for this folder'));
    process.kill(pid, 'SIGKILL');
    await stopping;
    const second = await starting;
    expect(second.isOwner).toBe(true);
    expect(await askEmbedded(second, (redis) => redis.ping())).toBe('PONG');
  });
});

describe('after the owner has stopped', () => {
  test('no process is left, and a guest has no server', async () => {
    const folder = newFolder();
    const embedded = await start(folder);
    const guest = await start(folder);
    const pid = serverPid(folder);
    await embedded.stop();
    expect(isRunning(pid)).toBe(false);
    expect(processesNaming(folder)).toEqual([]);
    await expect(askEmbedded(guest, (redis) => redis.ping())).rejects.toThrow('Connection is closed');
  });

  test('the next start owns a server with the same data, port and socket', async () => {
    const folder = newFolder();
    const first = await start(folder);
    await askEmbedded(first, (redis) => redis.set('key', 'kept'));
    await first.stop();
    const second = await start(folder);
    expect(second).toMatchObject({ isOwner: true, port: first.port, url: first.url });
    expect(await askEmbedded(second, (redis) => redis.get('key'))).toBe('kept');
    expect(owners(folder)).toEqual(['owner.2']);
  });

  test('stop may be called again', async () => {
    const embedded = await start(newFolder());
    await Promise.all([embedded.stop(), embedded.stop()]);
    await embedded.stop();
  });
});

describe('what an earlier server left', () => {
  test('a port that another program has by now is replaced by one that is kept from then on', async () => {
    const folder = newFolder();
    const first = await start(folder);
    await first.stop();
    const other = await listenOn(first.port);
    const second = await start(folder);
    expect(second.port).not.toBe(first.port);
    await second.stop();
    await new Promise((resolve) => other.close(resolve));
    expect((await start(folder)).port).toBe(second.port);
  });

  test.each(['', 'not a number', '99999', '-1', '80.5'])('a port file with "%s" in it means any port', async (text) => {
    const folder = newFolder();
    mkdirSync(join(folder, 'redis'), { recursive: true });
    writeFileSync(join(folder, 'redis', 'port'), text);
    const { port } = await start(folder);
    expect(readFileSync(join(folder, 'redis', 'port'), 'utf8')).toBe(String(port));
  });

  test('a socket file that nobody listens on is replaced', async () => {
    const folder = newFolder();
    const first = await start(folder);
    await first.stop();
    writeFileSync(join(folder, 'redis', 'redis.sock'), '');
    expect(await askEmbedded(await start(folder), (redis) => redis.ping())).toBe('PONG');
  });

  test('a pid that belongs to another program by now is left alone', async () => {
    const folder = newFolder();
    mkdirSync(join(folder, 'redis'), { recursive: true });
    writeFileSync(join(folder, 'redis', 'redis.pid'), String(process.pid));
    const { log, warnings } = collectLog();
    expect((await start(folder, { log })).isOwner).toBe(true);
    expect(warnings()).toEqual([]);
  });

  test('half an owner file means that nobody owns it', async () => {
    const folder = newFolder();
    mkdirSync(join(folder, 'redis'), { recursive: true });
    writeFileSync(join(folder, 'redis', 'owner.9'), '{"pid": 12');
    expect((await start(folder)).isOwner).toBe(true);
    expect(owners(folder)).toEqual(['owner.10']);
  });

  test('a server that nobody here owns, but that answers, is not joined by a second one', async () => {
    const folder = newFolder();
    const redis = join(folder, 'redis');
    mkdirSync(redis, { recursive: true });
    // What a server of another container looks like: it works elsewhere, and its pid means nothing here.
    own(await startRedis({ config: { unixsocket: join(redis, 'redis.sock') } }));
    const { message } = await failureOf(startEmbedded(embeddedOptions(folder)), 'FOLDER_BUSY');
    expect(message).toContain(`runs on ${redis}. End it first`);
    expect(statSync(join(redis, 'owner.1')).size, 'the folder was let go').toBe(0);
  });

  test('an owner on another host is respected, and the error names it and the file to remove', async () => {
    const folder = newFolder();
    const redis = join(folder, 'redis');
    mkdirSync(redis, { recursive: true });
    const note = { socketPath: join(redis, 'redis.sock'), port: 1, server: 'Redis 8.0.0' };
    writeFileSync(
      join(redis, 'owner.3'),
      JSON.stringify({ id: 'x', pid: 77, startedAt: '1', host: 'another-box', note }),
    );
    const started = startEmbedded(embeddedOptions(folder, { silentWithinMs: 200 }));
    const { message } = await failureOf(started, 'FOLDER_BUSY');
    expect(message).toContain('process 77 on another-box (another machine or container');
    expect(message).toContain('its Redis has not answered in 200 ms');
    expect(message).toContain(`if it is gone, remove ${join(redis, 'owner')}.*`);
    expect(owners(folder)).toEqual(['owner.3']);
  });
});

test('a server that is too old for everything else runs as the last resort', async (context) => {
  const { tooOld } = inject('servers');
  if (typeof tooOld === 'string') return skipBecause(context, tooOld);
  const program = writeProgram(join(root, 'programs'), 'old-server', `exec ${shellCommand(tooOld)} "$@"`);
  const embedded = await start(newFolder(), { server: program });
  expect(embedded.server).toBe(`Redis ${tooOld.version}`);
  expect(await askEmbedded(embedded, (redis) => redis.ping())).toBe('PONG');
});

function listenOn(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}
