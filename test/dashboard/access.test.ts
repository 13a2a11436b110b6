/** Who comes in, and how; what each role may do. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { hashPassword } from '../../dashboard/access/password.ts';
import { safePath } from '../../dashboard/access/next-path.ts';
import { createDashboard, createUserLine } from '../../dashboard/index.ts';
import { failureOf } from '../support/failures.ts';
import { temporaryFolder } from '../support/folders.ts';
import { forwardedFor, ownedDashboards, ownedPlatform, PASSWORD, signIn, userLine } from './support.ts';

const platform = ownedPlatform();
const open = ownedDashboards(platform);
const folder = temporaryFolder();

describe('signing in', () => {
  test('a stranger is sent to sign in, and goes on to where he wanted', async () => {
    const { browser } = await open();
    const stranger = browser();
    const sent = await stranger.get('/?queue=email');
    expect([sent.status, sent.headers.location]).toEqual([303, '/sign-in?next=%2F%3Fqueue%3Demail']);
    const form = await stranger.get('/sign-in?next=%2F%3Fqueue%3Demail');
    expect(form.body).toContain('name="next" value="/?queue=email"');
    const signed = await stranger.post('/sign-in', { name: 'Viewer', password: PASSWORD, next: '/?queue=email' });
    expect([signed.status, signed.headers.location]).toEqual([303, '/?queue=email']);
    const page = await stranger.get('/');
    expect(page.status).toBe(200);
    expect(page.body).toContain('No queue was used yet');
    expect((await stranger.get('/sign-in')).headers.location).toBe('/');
  });

  test('a wrong password and an unknown name are refused alike', async () => {
    const { browser } = await open();
    const wrong = await signIn(browser(), 'viewer', 'wrong');
    const unknown = await signIn(browser(), 'nobody', 'wrong');
    expect([wrong.status, unknown.status]).toEqual([401, 401]);
    expect(wrong.body.replace('viewer', '')).toBe(unknown.body.replace('nobody', ''));
  });

  test('a hash of the default cost lets its password in', async () => {
    const { browser } = await open({ users: [`ada:admin:${await hashPassword(PASSWORD)}`] });
    expect((await signIn(browser(), 'ada', PASSWORD)).status).toBe(303);
    expect((await signIn(browser(), 'ada', `${PASSWORD}.`)).status).toBe(401);
  });

  test('each sign-in has a session of its own, and the one before it ends', async () => {
    const { browserAs } = await open();
    const user = await browserAs('viewer');
    const before = new Map(user.cookies);
    await signIn(user, 'admin', PASSWORD);
    expect((await user.get('/')).body).toContain('<span class="role">admin</span>');
    expect(user.cookies.get('millrace-dashboard')).not.toBe(before.get('millrace-dashboard'));
    user.cookies = before;
    expect((await user.get('/')).status).toBe(303);
  });

  test('signing out ends the session, not only the cookie', async () => {
    const { browserAs } = await open();
    const user = await browserAs('viewer');
    const before = new Map(user.cookies);
    expect((await user.post('/sign-out')).headers.location).toBe('/sign-in');
    expect(user.cookies.has('millrace-dashboard')).toBe(false);
    user.cookies = before;
    expect((await user.get('/')).status).toBe(303);
  });

  test('after ten attempts an address waits, for the right password too, and is told how long', async () => {
    const { browser } = await open({ trustProxy: 'loopback' });
    const guess = (password: string, address: string) =>
      browser().post('/sign-in', { name: 'viewer', password }, forwardedFor(address));
    for (let count = 0; count < 10; count++) expect((await guess('wrong', '203.0.113.7')).status).toBe(401);
    const late = await guess(PASSWORD, '203.0.113.7');
    expect(late.status).toBe(429);
    expect(late.body).toContain('Too many attempts. Try again in');
    expect(Number(late.headers['retry-after'])).toBeGreaterThan(0);
    expect((await guess(PASSWORD, '203.0.113.8')).status).toBe(303);
  });

  test('a success does not clear the address for guesses at others', async () => {
    const { browser } = await open({ trustProxy: 'loopback' });
    const from = forwardedFor('203.0.113.9');
    const statuses = new Set<number>();
    for (let count = 0; count < 12; count++) {
      await browser().post('/sign-in', { name: 'viewer', password: PASSWORD }, from);
      statuses.add((await browser().post('/sign-in', { name: 'admin', password: 'wrong' }, from)).status);
    }
    expect([...statuses]).toEqual([401, 429]);
  });

  test('guesses at one name from many addresses are stopped as well', async () => {
    const { browser } = await open({ trustProxy: 'loopback', users: [userLine('guessed', 'viewer')] });
    const guess = (at: number) =>
      browser().post(
        '/sign-in',
        { name: 'guessed', password: 'wrong' },
        { headers: { 'x-forwarded-for': `198.51.100.${at}` } },
      );
    const statuses: number[] = [];
    for (let at = 0; at < 31; at++) statuses.push((await guess(at)).status);
    expect(new Set(statuses.slice(0, 30))).toEqual(new Set([401]));
    expect(statuses[30]).toBe(429);
  });

  test('a cookie that was made up, cut or doubled is nobody', async () => {
    const { browser, browserAs } = await open();
    const cookie = (await browserAs('admin')).cookies.get('millrace-dashboard') ?? '';
    const made = ['x', cookie.slice(0, -1), `${cookie}a`, '%00', 'v1.aaaa.bbbb'];
    for (const value of made)
      expect((await browser().get('/', { headers: { cookie: `millrace-dashboard=${value}` } })).status).toBe(303);
    const doubled = `millrace-dashboard=${cookie}; millrace-dashboard=x`;
    expect((await browser().get('/', { headers: { cookie: doubled } })).status).toBe(303);
  });

  test('the next page is of this dashboard, whatever the link says', async () => {
    const elsewhere = [
      '//evil.example',
      '/\\evil.example',
      '/..//evil.example',
      'https://evil.example',
      '/\t/evil.example',
      'javascript:alert(1)',
      '',
    ];
    for (const next of elsewhere) expect(safePath(next), next).toBe('/');
    expect(safePath('/jobs?state=failed&name=a%2Fb#top')).toBe('/jobs?state=failed&name=a%2Fb#top');
    const { browser } = await open();
    const signed = await browser().post('/sign-in', { name: 'viewer', password: PASSWORD, next: '/..//evil.example' });
    expect(signed.headers.location).toBe('/');
  });
});

describe('the list of users', () => {
  test('whoever is taken out of the file is out with the next request, and a new role holds at once', async () => {
    const file = join(folder, 'users');
    const admin = userLine('grace', 'admin');
    await writeFile(file, `# the team\n\n${userLine('ada', 'viewer')}\n${admin}\n`);
    const { browser } = await open({ users: [], usersFile: file });
    const [ada, grace] = [browser(), browser()];
    expect((await signIn(ada, 'ada', PASSWORD)).status).toBe(303);
    expect((await signIn(grace, 'grace', PASSWORD)).status).toBe(303);
    await writeFile(file, JSON.stringify([admin.replace(':admin:', ':viewer:')]));
    expect((await ada.get('/')).status).toBe(303);
    expect((await grace.get('/')).body).toContain('<span class="role">viewer</span>');
    expect((await grace.get('/audit')).status).toBe(403);
    await writeFile(file, JSON.stringify([userLine('grace', 'admin', 'another password')]));
    expect((await grace.get('/')).status).toBe(303); // His password is another one.
  });

  test('a file that is away or half written lets nobody in, and puts nobody out', async () => {
    const file = join(folder, 'away');
    const lines = `${userLine('grace', 'admin')}\n`;
    await writeFile(file, lines);
    const { browser } = await open({ users: [userLine('ada', 'viewer')], usersFile: file });
    const grace = browser();
    expect((await signIn(grace, 'grace', PASSWORD)).status).toBe(303);
    for (const spoil of [() => rm(file), () => writeFile(file, 'grace:admin')]) {
      await spoil();
      expect((await grace.get('/')).status).toBe(503);
      expect((await browser().post('/sign-in', { name: 'grace', password: PASSWORD })).status).toBe(503);
      expect((await browser().post('/sign-in', { name: 'ada', password: 'wrong' })).status).toBe(503);
      await writeFile(file, lines);
      expect((await grace.get('/')).status).toBe(200);
    }
  });

  test('faults are told at the start, without a hash or a secret', async () => {
    const faulty: Array<[options: object, message: string]> = [
      [{ users: ['ada'] }, 'users[0]: ada: expected one of the roles viewer, operator, admin'],
      [{ users: ['ada:boss:$scrypt$hush'] }, 'ada: expected one of the roles'],
      [{ users: ['ada:admin:hush'] }, 'ada: expected a hash as `millrace password` prints it'],
      [{ users: [userLine('ada', 'admin'), userLine('ADA', 'viewer')] }, 'users[1]: ADA is there twice'],
      [{ usrs: [] }, 'unknown option usrs, did you mean users?'],
      [{ secret: 'hush' }, 'secret: expected at least 32 characters, got a string'],
      [{ basePath: 'ops' }, 'basePath: expected a path such as /ops'],
      [{ trustProxy: 'nowhere' }, 'trustProxy: expected how many proxies, or their addresses'],
      [{ metricsToken: 'hush' }, 'metricsToken: expected at least 16 characters'],
    ];
    for (const [options, message] of faulty) {
      const failure = await failureOf(
        Promise.resolve().then(() => createDashboard(platform(), options)),
        'OPTIONS_INVALID',
      );
      expect(failure.message).toContain(message);
      expect(failure.message).not.toContain('hush');
    }
    const missing = createDashboard(platform(), { usersFile: '/nowhere/users' });
    await failureOf(missing.start(), 'OPTIONS_INVALID');
    await missing.stop();
  });

  test('a line is made of a name, a role and a password that is long enough', async () => {
    expect(await createUserLine('ada', 'admin', PASSWORD)).toMatch(/^ada:admin:\$scrypt\$ln=15,r=8,p=3\$/);
    const refused: Array<[name: string, role: string, password: string]> = [
      ['ada', 'admin', 'short'],
      ['a:b', 'admin', PASSWORD],
      ['ada', 'boss', PASSWORD],
    ];
    for (const given of refused) await failureOf(createUserLine(...given), 'OPTIONS_INVALID');
  });
});

describe('the link, where no users are listed', () => {
  test('it signs in as admin, once, and only when its button is pressed', async () => {
    const { dashboard, browser, url } = await open({ users: [] });
    const stranger = browser();
    expect((await stranger.get('/sign-in')).body).toContain('millrace dashboard --link');
    const link = new URL(await dashboard.signInLink(url));
    const at = link.pathname + link.search;
    for (let looks = 0; looks < 2; looks++)
      expect((await stranger.get(at)).body).toContain('This link signs in as admin');
    const form = { link: link.searchParams.get('link') ?? '' };
    expect((await stranger.post('/sign-in/link', form)).headers.location).toBe('/');
    expect((await stranger.get('/')).body).toContain('<span class="role">admin</span>');
    expect((await browser().post('/sign-in/link', form)).status).toBe(401);
    expect((await browser().post('/sign-in/link', { link: 'x' })).status).toBe(401);
  });

  test('guesses from many addresses do not lock it for its owner', async () => {
    const { dashboard, browser, url } = await open({ users: [], trustProxy: 'loopback' });
    for (let at = 0; at < 31; at++)
      await browser().post('/sign-in/link', { link: 'x' }, forwardedFor(`198.51.100.${at}`));
    const link = new URL(await dashboard.signInLink(url)).searchParams.get('link') ?? '';
    expect((await browser().post('/sign-in/link', { link }, forwardedFor('203.0.113.20'))).status).toBe(303);
  });

  test('Redis has no more of it than its hash, for 15 minutes', async () => {
    const { dashboard, url } = await open({ users: [] });
    const token = new URL(await dashboard.signInLink(url)).searchParams.get('link') ?? '';
    const client = platform().redis.commands();
    const keys = await client.keys(`${platform().prefix}:dashboard:*`);
    expect(keys.join(' ')).not.toContain(token);
    const links = keys.filter((key) => key.includes('{link}'));
    for (const key of links) expect(await client.pttl(key)).toBeLessThanOrEqual(15 * 60_000);
    expect(links.length).toBeGreaterThan(0);
  });

  test('with users there is none, and whoever came by one is out', async () => {
    const before = await open({ users: [] });
    const guest = before.browser();
    const link = new URL(await before.dashboard.signInLink(before.url));
    await guest.post('/sign-in/link', { link: link.searchParams.get('link') ?? '' });
    const { dashboard, browser, url } = await open();
    await failureOf(dashboard.signInLink(url), 'OPTIONS_INVALID');
    const after = browser();
    after.cookies = guest.cookies;
    expect((await after.get('/')).status).toBe(303);
  });
});

describe('roles', () => {
  test('a viewer reads, changes nothing, and is not shown the audit', async () => {
    const { browserAs } = await open();
    const viewer = await browserAs('viewer');
    expect((await viewer.get('/')).body).not.toContain('href="/audit"');
    expect((await viewer.get('/audit')).status).toBe(403);
    expect((await viewer.post('/audit')).status).toBe(403);
    expect((await viewer.post('/')).status).toBe(403); // No page takes anything from a viewer.
    expect((await (await browserAs('operator')).post('/')).status).toBe(405);
    expect((await (await browserAs('operator')).get('/audit')).status).toBe(403);
    expect((await (await browserAs('admin')).get('/audit')).status).toBe(200);
  });
});
