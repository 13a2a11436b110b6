/**
 * Page views are counted in memory-fast writes and reach the "database" a few times a second; one that it refuses becomes a dead letter and is sent back.
 *
 *   node --conditions=millrace-source --import tsx examples/write-behind.ts      in a checkout
 */
import { createPlatform, readEnv } from 'millrace';

interface Page {
  views: number;
}

/** Stands for a table with the columns key, views, version. */
const table = new Map<string, Page & { version: number }>();
let bulks = 0;
let isMended = false;

const platform = createPlatform({ ...readEnv().platform, log: { level: 'silent' } });
await platform.start();
try {
  const pages = platform.cache.writeBehind<Page>(
    {
      name: 'examples.pages',
      load: (key) => table.get(key),
      async saveMany(changes) {
        bulks++;
        if (!isMended && changes.some(({ key }) => key === '/broken')) throw new Error('no such page');
        for (const { key, kind, value, version } of changes) {
          const isLate = (table.get(key)?.version ?? 0) > version;
          if (kind === 'set' && value && !isLate) table.set(key, { ...value, version });
        }
      },
    },
    { flushAfter: '50ms', attempts: 3, retry: { delay: '10ms' } },
  );
  pages.start();

  for (let view = 1; view <= 300; view++) {
    await pages.set('/home', { views: view });
    await pages.set(`/article-${view % 10}`, { views: Math.ceil(view / 10) });
  }
  console.log('a reader sees', await pages.get('/home'));
  await pages.flush();
  console.log('the table has', table.get('/home')?.views, `after ${bulks < 300 ? 'few' : 'many'} bulks for 600 writes`);

  await pages.setMany([
    ['/broken', { views: 1 }],
    ['/fine', { views: 1 }],
  ]);
  await pages.flush();
  const { letters } = await pages.deadLetters.list();
  console.log(
    'dead letters',
    letters.map(({ key, attempts, error }) => `${key}: ${error.message}, ${attempts} attempts`),
  );
  console.log('its neighbour was saved', table.has('/fine'));

  isMended = true;
  console.log('sent back', (await pages.deadLetters.redrive({})).redriven);
  await pages.flush();
  console.log('saved', table.has('/broken'));
} finally {
  await platform.stop();
}
