/**
 * Signing in: a password, a second factor for what matters, a page of devices, and out everywhere after a change of the password.
 *
 *   node --conditions=millrace-source --import tsx examples/sign-in.ts      in a checkout
 */
import express from 'express';
import { randomBytes } from 'node:crypto';
import { createPlatform, readEnv } from 'millrace';
import { csrf, listen, requireSession, sessionMiddleware, sessionOf } from 'millrace/http';

const platform = createPlatform({ ...readEnv().platform, log: { level: 'error' } });
await platform.start();
const web = platform.sessions.realm('example-web', { idle: '30m', absolute: '30d', maxPerUser: 5 });
const { protect, tokenFor } = csrf<express.Request>({ secret: randomBytes(32).toString('hex') });
const user = `ada-${process.pid}`;

/* eslint-disable oxc/no-async-endpoint-handlers -- Express 5 waits for them, and hands on what they throw. */
const app = express();
app.set('trust proxy', 'loopback'); // Whose X-Forwarded-For is believed: devices are told by their address.
app.use(sessionMiddleware(web), express.json(), protect);
app.post('/sign-in', async (request, response) => {
  // Here you check the password, under a rate limit: see examples/rate-limits.ts.
  const { id } = await sessionOf(request).signIn(user, { data: { theme: 'light' } });
  response.json({ id, csrf: tokenFor(request) });
});
app.post('/second-factor', requireSession(), async (request, response) => {
  // Here you check the code.
  const elevated = await sessionOf(request).elevate('second-factor');
  response.status(elevated.ok ? 200 : 401).json({ ok: elevated.ok });
});
app.post(
  '/transfer',
  requireSession({ level: 'second-factor' }),
  (_request, response) => void response.json({ sent: true }),
);
app.get('/devices', requireSession(), async (_request, response) => {
  const sessions = await web.list(user);
  response.json(sessions.map(({ id, device, lastSeenAt }) => ({ id, agent: device.userAgent, lastSeenAt })));
});
app.post('/password', requireSession({ level: 'second-factor' }), async (request, response) => {
  const { current } = sessionOf(request);
  response.json({ ended: await web.revokeAll(user, { except: current?.id }) });
});

const listener = await listen(app, { host: '127.0.0.1', port: 0 });

/** A browser: it keeps its cookie, and its page knows the token. */
function openBrowser(agent: string) {
  let cookie = '';
  let token = '';
  return async (method: 'GET' | 'POST', path: string): Promise<{ status: number; body: Record<string, unknown> }> => {
    const headers = { cookie, 'x-csrf-token': token, 'user-agent': agent, connection: 'close' };
    const response = await fetch(`${listener.url}${path}`, { method, headers });
    for (const line of response.headers.getSetCookie()) cookie = line.split(';')[0] ?? '';
    const body = (await response.json()) as Record<string, unknown>;
    if (typeof body['csrf'] === 'string') token = body['csrf'];
    return { status: response.status, body };
  };
}

try {
  const laptop = openBrowser('a laptop');
  const phone = openBrowser('a phone');
  console.log('a stranger', (await laptop('GET', '/devices')).body['code']);
  for (const browser of [phone, laptop]) await browser('POST', '/sign-in');

  const refused = await laptop('POST', '/transfer');
  console.log('a password is not enough', refused.status, refused.body['code']);
  await laptop('POST', '/second-factor');
  console.log('a second factor is', (await laptop('POST', '/transfer')).body);

  console.log('devices', Object.keys((await laptop('GET', '/devices')).body).length);
  console.log('a new password', (await laptop('POST', '/password')).body);
  console.log(
    'the laptop',
    (await laptop('GET', '/devices')).status,
    'the phone',
    (await phone('GET', '/devices')).status,
  );
} finally {
  await web.revokeAll(user);
  await listener.close();
  await platform.stop();
}
