/**
 * The image, without an engine: what the Dockerfile says is done in a clean folder, and its commands run as its user on a tree that nobody may
 * write to. The long form builds with npm, as the Dockerfile does; the short one takes what the tests have compiled.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readdirSync, symlinkSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { buildImage, makeReadOnly, startInImage, type InPlace } from '../deploy/image.ts';
import { ROOT, yamlOf } from '../deploy/files.ts';
import { eventually } from '../support/eventually.ts';
import { freePort, startRedis, type TestServer } from '../support/servers.ts';
import { isLong } from './scene.ts';

const { services } = yamlOf<{ services: Record<string, { command: string[] }> }>('docker-compose.yml')[0]!;

/** What stands for npm, and for what it makes. */
const compiled: InPlace = ({ name, rest }, to) => {
  if (name === 'RUN' && rest.startsWith('npm ci')) return () => undefined;
  if (name === 'RUN' && rest.startsWith('npm run build'))
    return () => symlinkSync(join(inject('compiled'), 'src'), to('dist'));
  if (name === 'COPY' && rest.includes('/app/node_modules'))
    return () => symlinkSync(join(ROOT, 'node_modules'), to('node_modules'));
  return undefined;
};

describe('the image', () => {
  let folder: string;
  let image: ReturnType<typeof buildImage>;
  let server: TestServer;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'millrace-image-'));
    chmodSync(folder, 0o755); // The programs run as another user.
    image = buildImage(folder, isLong ? undefined : compiled);
    makeReadOnly(image);
    server = await startRedis();
  }, 600_000);
  afterAll(async () => {
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  });

  test('has what is needed and nothing else', () => {
    const app = join(image.folder, image.workdir);
    expect(readdirSync(app).toSorted()).toEqual(
      ['LICENSE', 'dashboard', 'dist', 'lua', 'node_modules', 'package.json', 'src'].toSorted(),
    );
    const inDashboard = readdirSync(join(app, 'dashboard'), { recursive: true, withFileTypes: true });
    expect(inDashboard.filter((entry) => entry.isFile() && !/\.(css|js)$/.test(entry.name))).toEqual([]);
    expect(image.user).toBeGreaterThan(0);
    // The short form has the packages of the checkout.
    const forTests = ['vitest', 'typescript', 'tsx', 'playwright-core'];
    const there = forTests.filter((name) => existsSync(join(app, 'node_modules', name)));
    expect(there).toEqual(isLong ? [] : forTests);
  });

  test('cannot be written to by its user', async () => {
    const write = "require('fs').writeFileSync('dist/x', '')";
    const child = startInImage(image, ['node', '-e', write], {});
    let err = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (err += text));
    expect(await once(child, 'close')).toEqual([1, null]);
    expect(err).toMatch(/EACCES|EROFS/);
  });

  test.each(['worker', 'dashboard', 'api'])(
    '%s: begins, is healthy, and ends with 0 when it is told to',
    async (name) => {
      const { command } = services[name]!;
      const port = String(await freePort());
      const env = {
        REDIS_URL: server.url,
        HOST: '127.0.0.1',
        PORT: port,
        MILLRACE_PREFIX: `image-${name}`,
        ...(name === 'worker' && { MILLRACE_WEBHOOK_SECRETS: `shop=whsec_${randomBytes(32).toString('base64')}` }),
      };
      const child = startInImage(image, command, env);
      let said = '';
      for (const stream of [child.stdout, child.stderr])
        stream?.setEncoding('utf8').on('data', (text: string) => (said += text));
      const ended = once(child, 'close');
      try {
        await eventually(async () => {
          const status = await statusOf(`http://127.0.0.1:${port}/readyz`);
          expect(status, said).toBe(200);
        });
        const check = startInImage(image, image.healthcheck, { PORT: port });
        expect(await once(check, 'close')).toEqual([0, null]);
        child.kill('SIGTERM');
        expect(await ended, said).toEqual([0, null]);
      } finally {
        child.kill('SIGKILL');
        await ended;
      }
    },
  );
});

/** Of an answer; what was met when there is none. */
async function statusOf(url: string): Promise<number | string> {
  try {
    return (await fetch(url, { headers: { connection: 'close' } })).status;
  } catch (error) {
    return String(error);
  }
}
