/**
 * A cache in a process of its own: `cache-process URL PREFIX CALLERS LOAD_MS [die]`. At SIGUSR2 so many callers ask at once for a
 * key; it says how often it loaded and what they were given. With `die` it ends in the middle of its first load.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { createCache } from '../../src/cache/create-cache.ts';
import { createConnections } from '../../src/redis/connect.ts';

const [url = '', prefix = '', callers = '1', loadMs = '0', mode] = process.argv.slice(2);
const connections = createConnections({ url });
const cache = createCache(connections, { prefix, outage: { deadline: '10s' } });
await cache.ready();
await cache.get('warm');
process.on('SIGUSR2', () => void ask('signalled'));
setInterval(() => undefined, 60_000);
console.log('ready');

async function ask(key: string): Promise<void> {
  let loads = 0;
  const load = async (): Promise<string> => {
    loads++;
    console.log(`loading ${key}`);
    if (mode === 'die') process.kill(process.pid, 'SIGKILL');
    await delay(Number(loadMs));
    return `${key} of ${process.pid}`;
  };
  const values = await Promise.all(
    Array.from({ length: Number(callers) }, () => cache.getOrSet(key, load, { ttl: '1m', hard: '30s' })),
  );
  console.log(`asked ${key} ${JSON.stringify({ loads, values: [...new Set(values)] })}`);
}
