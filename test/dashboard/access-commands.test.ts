/** The commands of the dashboard, as processes of their own. */
import { describe, expect, test } from 'vitest';
import { temporaryFolder } from '../support/folders.ts';
import { launcher, millrace, type RunningCommand } from '../support/millrace.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';
import { spawn } from 'node:child_process';
import { openBrowser, PASSWORD, signIn } from './support.ts';

const own = ownedByTest();
const folder = temporaryFolder();

function run(args: string[], env: Record<string, string>): RunningCommand {
  const command = millrace(args, { cwd: folder, env: { LOG_LEVEL: 'warn', PORT: '0', ...env } });
  own({ stop: async () => void (command.child.kill('SIGKILL'), await command.ended) });
  return command;
}

/** `millrace password` with the password on its standard input. */
async function password(name: string, role: string, text: string): Promise<{ code: number; out: string; err: string }> {
  const child = spawn(process.execPath, [launcher(), 'password', name, role], { cwd: folder });
  child.stdin.end(text);
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  const code = await new Promise<number>((resolve) => child.once('close', (end) => resolve(end ?? -1)));
  return { code, out, err };
}

describe('the commands', () => {
  test('a password becomes a line with which its user signs in; SIGTERM ends the process', async () => {
    const { url } = own(await startRedis());
    const made = await password('ada', 'admin', `${PASSWORD}\n`);
    expect([made.code, made.out]).toEqual([0, expect.stringMatching(/^ada:admin:\$scrypt\$ln=15,r=8,p=3\$\S+\n$/)]);
    expect((await password('ada', 'admin', 'short\n')).err).toContain('12 characters');
    expect((await password('ada', 'boss', '')).code).toBe(2);

    const env = { REDIS_URL: url, MILLRACE_DASHBOARD_USERS: made.out.trim(), METRICS_PORT: '0' };
    const dashboard = run(['dashboard'], env);
    await dashboard.says('Stop: Ctrl-C');
    expect(dashboard.out()).toContain('as one of the users of MILLRACE_DASHBOARD_USERS');
    const [, port = ''] = /Dashboard {2}http:\/\/127\.0\.0\.1:(\d+)/.exec(dashboard.out()) ?? [];
    expect((await signIn(openBrowser(Number(port)), 'ada', PASSWORD)).status).toBe(303);
    expect((await openBrowser(Number(port)).get('/metrics')).status).toBe(404);
    const [, metricsPort = ''] = /http:\/\/127\.0\.0\.1:(\d+)\/metrics, open to all/.exec(dashboard.out()) ?? [];
    const metrics = openBrowser(Number(metricsPort));
    expect((await metrics.get('/metrics')).body).toContain('# TYPE millrace_');
    expect((await metrics.get('/')).status).toBe(404);
    const link = run(['dashboard', '--link'], env);
    expect([await link.ended, link.err()]).toEqual([1, expect.stringContaining('users are listed')]);
    dashboard.child.kill('SIGTERM');
    expect(await dashboard.ended).toBe(0);
  });

  test('without users a link is printed that signs in once, and another one when asked for', async () => {
    const { url } = own(await startRedis());
    const env = { REDIS_URL: url, MILLRACE_DASHBOARD_BASE_PATH: '/ops' };
    const dashboard = run(['dashboard'], env);
    await dashboard.says('Stop: Ctrl-C');
    expect(dashboard.out()).toContain('Metrics    closed; METRICS_TOKEN or METRICS_PORT opens them');
    const printed = linkIn(dashboard.out());
    expect(printed.pathname).toBe('/ops/sign-in');
    const again = run(['dashboard', '--link'], { ...env, PORT: printed.port });
    expect([await again.ended, again.err()]).toEqual([0, '']);
    for (const link of [printed, linkIn(again.out())]) {
      const browser = openBrowser(Number(link.port));
      const form = { link: link.searchParams.get('link') ?? '' };
      const signedIn = await browser.post('/ops/sign-in/link', form);
      expect(signedIn.headers.location).toBe('/ops/');
      expect((await browser.get('/')).body).toContain('href="/ops/audit"');
    }
    dashboard.child.kill('SIGINT');
    expect(await dashboard.ended).toBe(0);
  });
});

function linkIn(text: string): URL {
  return new URL(/http:\S+link=\S+/.exec(text)?.[0] ?? 'http://nowhere');
}
