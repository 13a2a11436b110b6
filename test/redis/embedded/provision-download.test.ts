/** Fetches a server for real, as an unprivileged user. */
import { chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { identify, type ServerBinary } from '../../../src/redis/embedded/binary.ts';
import { findMirror } from '../../../src/redis/embedded/debian-mirror.ts';
import { findProvisioned, REDIS_8 } from '../../../src/redis/embedded/provision.ts';
import { startChild, type Child } from '../../support/child.ts';
import { temporaryFolder } from '../../support/folders.ts';
import { collectLog } from '../../support/log-lines.ts';
import { ownedByTest } from '../../support/owned.ts';
import { findOtherUser } from '../../support/other-user.ts';
import { skipBecause } from '../../support/skips.ts';

const root = temporaryFolder();
const own = ownedByTest();
const otherUser = findOtherUser();
if (typeof otherUser === 'string') console.log(`servers are fetched as this user: ${otherUser}`);
const uid = typeof otherUser === 'number' ? otherUser : undefined;
let notDebian: string | undefined;

beforeAll(async () => {
  notDebian = await findMirror().then(
    () => undefined,
    (error: Error) => error.message,
  );
});

/** A folder of the user that fetches. */
function homeFolder(name: string): string {
  const home = mkdtempSync(join(root, `${name}-`));
  // The way there must be open to the other user too.
  if (uid !== undefined) for (const folder of [root, home]) chownSync(folder, uid, uid);
  return home;
}

function start(home: string, aptConfig: string): Child {
  const file = join(home, 'apt.conf');
  writeFileSync(file, aptConfig);
  return own(startChild('provisioner', [join(home, 'cache')], { uid, env: { HOME: home, APT_CONFIG: file } }));
}

const isFetching = (line: string): boolean => line.startsWith('step downloading');
const isWaiting = (line: string): boolean => line.startsWith('step waiting for process');

describe('fetching', () => {
  test('is done once for two processes, without root, after one that was killed, over a damaged copy', async (context) => {
    if (notDebian !== undefined) return skipBecause(context, notDebian);
    const home = homeFolder('home');
    const cache = join(home, 'cache');
    const hooked = join(home, 'hooked');
    // What a machine may have in its own configuration, none of which may matter, or run.
    const aptConfig = `
      APT::Default-Release "no-such-release";
      APT::Update::Pre-Invoke { "touch ${hooked}"; };
      APT::Update::Post-Invoke { "touch ${hooked}"; };
      APT::Update::Post-Invoke-Success { "touch ${hooked}"; };`;
    const killed = start(home, aptConfig);
    await killed.says('percent');
    killed.signal('SIGKILL');
    await killed.ended;
    expect(readdirSync(cache).some((entry) => entry.startsWith('redis-8.work-'))).toBe(true);
    mkdirSync(join(cache, REDIS_8.name));
    writeFileSync(join(cache, REDIS_8.name, 'manifest.json'), '{"files":{"redis-server":"of another file"}}');
    if (uid !== undefined) chownSync(join(cache, REDIS_8.name), uid, uid);

    const both = [start(home, aptConfig), start(home, aptConfig)];
    const found = await Promise.all(
      both.map(async (one) => JSON.parse(await one.says('found', 120_000)) as ServerBinary),
    );
    expect(found[0]).toEqual(found[1]);
    expect(both.filter((one) => one.lines().some(isFetching))).toHaveLength(1);
    expect(both.filter((one) => one.lines().some(isWaiting))).toHaveLength(1);

    const fetching = both.find((one) => one.lines().some(isFetching))?.lines() ?? [];
    expect(fetching.filter((line) => line.startsWith('step'))).toEqual([
      'step reading the package list of Debian trixie',
      'step downloading redis-tools and 15 libraries',
      'step unpacking',
    ]);
    const percents = fetching.filter((line) => line.startsWith('percent')).map((line) => Number(line.slice(8)));
    expect(percents.length).toBeGreaterThan(2);
    expect(percents.every((percent) => percent >= 0 && percent <= 100)).toBe(true);

    const { log, told } = collectLog();
    expect(await findProvisioned(REDIS_8, { cacheFolder: cache, log })).toEqual(found[0]);
    expect(await identify(found[0]?.command ?? [''], 'here')).toMatchObject({ kind: 'redis' });
    expect(told()).toEqual([]);
    expect(readdirSync(cache), 'no work folder is left').toEqual([
      'redis-8',
      expect.stringMatching(/^redis-8\.lock\./),
    ]);
    expect(existsSync(hooked), "the machine's own hooks have not run").toBe(false);
  }, 180_000);

  test('from a mirror that cannot be reached fails with what apt said, and leaves nothing', async (context) => {
    if (notDebian !== undefined) return skipBecause(context, notDebian);
    const home = homeFolder('offline');
    const proxies = ['http', 'https'].map((scheme) => `Acquire::${scheme}::Proxy "http://127.0.0.1:1";\n`).join('');
    const child = start(home, `${proxies}Acquire::Retries::Delay "false";`);
    const failure = await child.says('failed');
    expect(failure).toMatch(/^PROVISION_FAILED apt-get update ended with 100: E: .*127\.0\.0\.1/);
    expect(readdirSync(join(home, 'cache'))).toEqual([expect.stringMatching(/^redis-8\.lock\./)]);
  });

  test('into a folder that the user may not write to fails, and names the folder', async (context) => {
    if (notDebian !== undefined) return skipBecause(context, notDebian);
    if (uid === undefined) return skipBecause(context, 'only root can become another user');
    const home = homeFolder('not-mine');
    mkdirSync(join(home, 'cache'));
    const child = start(home, '');
    expect(await child.says('failed')).toMatch(/^FOLDER_UNUSABLE the cache folder .* EACCES.* MILLRACE_CACHE/);
  });
});
