/** What a server has done and what it holds, by its own count. */
import type { Redis } from 'ioredis';

/** Commands that were called, those in scripts too, whoever sent them. */
export async function commandsCalled(admin: Redis): Promise<number> {
  const info = await admin.info('commandstats');
  const stats = [...info.matchAll(/^cmdstat_(.+?):calls=(\d+)/gm)];
  return stats.reduce((sum, [, name, calls]) => sum + (name === 'info' ? 0 : Number(calls)), 0);
}

/** How often the server read what clients had sent: for a client that waits for each answer, its round trips. */
export async function readsDuring(admin: Redis, act: () => Promise<unknown>): Promise<number> {
  const before = await readsDone(admin);
  await act();
  return (await readsDone(admin)) - before - 1; // The second question was read, too.
}

/** What all keys take, each with its name and what the server keeps about it. */
export async function keyBytes(admin: Redis): Promise<number> {
  let sum = 0;
  for await (const keys of admin.scanStream({ count: 1_000 })) {
    for (const key of keys as string[]) sum += (await admin.memory('USAGE', key)) ?? 0;
  }
  return sum;
}

async function readsDone(admin: Redis): Promise<number> {
  const info = await admin.info('stats');
  return Number(/^total_reads_processed:(\d+)/m.exec(info)?.[1]);
}
