/**
 * Limits where they are met: an API that tells its callers what is left, a job that waits for its turn, one export per user at a time.
 *
 *   node --conditions=millrace-source --import tsx examples/rate-limits.ts      in a checkout
 */
import express from 'express';
import { createPlatform, defineJob, handle, readEnv } from 'millrace';
import { listen, rateLimit } from 'millrace/http';
import { z } from 'zod';

const platform = createPlatform({ ...readEnv().platform, log: { level: 'error' } });
await platform.start();
const { limits, jobs } = platform;

// An API: signed-in users have a limit of their own, everybody else has the one of their address.
const signedIn = limits.limiter('api', {
  policies: [
    { name: 'burst', limit: 20, per: '1s', burst: 40 },
    { name: 'day', algorithm: 'fixed-window', limit: 10_000, per: '1d', align: 'utc' },
  ],
});
const anonymous = limits.limiter('anonymous', { policies: [{ name: 'minute', limit: 2, per: '1m' }] });

const app = express();
app.set('trust proxy', 'loopback'); // Whose X-Forwarded-For is believed.
app.use(rateLimit<express.Request>({ limiter: signedIn, user: (request) => request.get('x-user'), anonymous }));
app.get('/', (_request, response) => void response.json({ hello: 'world' }));

// A job that calls a slow provider: three calls a second, over all workers. A refusal puts it back until then.
const geocode = defineJob({ name: 'examples.geocode', input: z.object({ place: z.string() }), attempts: 1 });
const geocodeHandler = handle(geocode, async ({ place }, { limits: mine }) => {
  const provider = mine.limiter('provider', { policies: [{ name: 'second', limit: 3, per: '1s', burst: 1 }] });
  await provider.require('geocoder');
  return place.length;
});

// One export per user at a time.
const exports = limits.concurrency('exports', { max: 1, ttl: '30s' });

const listener = await listen(app, { host: '127.0.0.1', port: 0 });
try {
  const user = `example-${process.pid}`;
  const told = await fetch(listener.url, { headers: { 'x-user': user } });
  console.log(told.status, told.headers.get('ratelimit-policy'));
  console.log(told.status, told.headers.get('ratelimit'));

  const somewhere = { 'x-forwarded-for': `2001:db8:${process.pid.toString(16)}::1` };
  for (let call = 1; call <= 3; call++) {
    const { status, headers } = await fetch(listener.url, { headers: somewhere });
    console.log('anonymous', status, headers.get('retry-after') ?? '');
  }

  await platform.work({ handlers: [geocodeHandler], concurrency: 5 });
  const started = performance.now();
  const places = ['Oslo', 'Bergen', 'Bodø', 'Tromsø'].map((place) => jobs.enqueueAndWait(geocode, { place }));
  console.log('geocoded', await Promise.all(places), `in ${((performance.now() - started) / 1_000).toFixed(1)} s`);

  const first = await exports.using(user, async () => {
    const second = await exports.using(user, () => 'never');
    return second.allowed ? 'two at once' : `refused, ask again in ${second.retryAfterMs} ms`;
  });
  console.log('exports', first);
} finally {
  await listener.close();
  await platform.stop();
}
