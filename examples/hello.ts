/**
 * The smallest program on Millrace: start, use Redis, stop.
 *
 *   node --conditions=millrace-source --import tsx examples/hello.ts      in a checkout
 *
 * In a project of your own the package is installed, and `node hello.js` is enough.
 */
import { createPlatform, readEnv } from 'millrace';

const platform = createPlatform(readEnv().platform);
await platform.start();
try {
  const redis = platform.redis.commands();
  const visits = await redis.incr('examples:hello:visits');
  await redis.expire('examples:hello:visits', 3_600);
  const { version, features } = await platform.redis.capabilities();
  console.log(`visit ${visits} on Redis ${version}; vectors ${features.vectorSets ? 'can' : 'cannot'} be stored here`);
} finally {
  await platform.stop();
}
