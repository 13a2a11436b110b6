/**
 * A process that uses a lock, with a clock of its own: `lock-process URL NAME MODE [NUMBER] [CLOCK_AHEAD_MS]`.
 *
 * - `contend`: NUMBER times, adds one to the counter `NAME:count` in two steps that a second holder would disturb, and notes its token.
 * - `hold`: says `holding TOKEN`, then `lost CODE` when it is told, and `fence ACCEPTED`; keeps a lease of NUMBER ms.
 * - `wait`: says `waiting` with NUMBER waiters in the queue, whom it serves.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { systemClock, type Clock } from '../../src/clock.ts';
import { createLocks } from '../../src/lock/locks.ts';
import { createConnections } from '../../src/redis/connect.ts';

const [url = '', name = '', mode = '', number = '1', aheadMs = '0'] = process.argv.slice(2);
const connections = createConnections({ url });
const clock: Clock = {
  ...systemClock,
  wallMs: () => systemClock.wallMs() + Number(aheadMs),
  monotonicMs: () => systemClock.monotonicMs() + Number(aheadMs),
};
const locks = createLocks(connections, { clock });

async function contend(): Promise<void> {
  const redis = connections.commands();
  console.log('ready');
  for (let round = 0; round < Number(number); round++) {
    await locks.using(name, { ttl: '2s', wait: '60s' }, async ({ token }) => {
      const count = Number(await redis.get(`${name}:count`));
      await redis.rpush(`${name}:tokens`, token);
      if (round % 10 === 0) await delay(1);
      await redis.set(`${name}:count`, count + 1);
    });
  }
  console.log('done');
  await locks.stop();
  await connections.close();
}

async function hold(): Promise<void> {
  const lock = await locks.acquire(name, { ttl: `${Number(number)}ms` });
  const { signal } = lock;
  signal.addEventListener('abort', () => {
    console.log(`lost ${(signal.reason as { code: string }).code}`);
    void locks
      .fence(name)
      .check(lock.token)
      .then(({ accepted }) => console.log(`fence ${accepted}`));
  });
  console.log(`holding ${lock.token}`);
  setInterval(() => undefined, 1_000);
}

async function wait(): Promise<void> {
  const all = Array.from({ length: Number(number) }, () => locks.using(name, { wait: '60s' }, () => undefined));
  await delay(0);
  while ((await locks.inspect(name)).waiting < Number(number)) await delay(5);
  console.log('waiting');
  await Promise.all(all);
  console.log('served');
}

await (mode === 'contend' ? contend() : mode === 'hold' ? hold() : wait());
