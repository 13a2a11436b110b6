/**
 * One process of a stampede: for each key that it is told, so many callers ask at once. It answers how often it had to load, and ends
 * when its parent lets go of it.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { bentoOn, itemOf, oursOn, type CacheSide } from './cache-sides.ts';
import { useCompiled } from './compiled.ts';

const CALLERS = 1_000;
/** How long a load takes. */
const LOAD_MS = 50;

const [kind, url = '', built = ''] = process.argv.slice(2);
useCompiled(built);
const side = await (kind === 'ours' ? oursOn : bentoOn)(url, { firstLevel: true });
if (!side) throw new Error('bentocache is not installed');
const asked: CacheSide = side;
await loads('connected');
process.on('message', ({ key }: { key: string }) => void loads(key).then((count) => process.send?.(count)));
process.once('disconnect', () => void asked.close());
process.send?.(0);

async function loads(key: string): Promise<number> {
  let count = 0;
  const load = async () => {
    count++;
    await delay(LOAD_MS);
    return itemOf(key);
  };
  const items = await Promise.all(Array.from({ length: CALLERS }, () => asked.getOrSet(key, load)));
  if (items.some(({ id }) => id !== key)) throw new Error(`${key}: a caller got something else`);
  return count;
}
