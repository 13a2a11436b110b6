/**
 * Contends for a folder: `lock-contender FOLDER ROUNDS [hold]`. In each round it takes the hold, adds one to a counter in two steps that a
 * second holder would disturb, and lets go. With `hold` it keeps the first hold until it is killed.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { hold } from '../../src/redis/embedded/folder-lock.ts';

const [folder = '', rounds = '1', mode] = process.argv.slice(2);
const counter = join(folder, 'counter');
const mark = join(folder, 'somebody-is-inside');

console.log('ready');
for (let round = 0; round < Number(rounds); round++) {
  const held = await hold(folder, 'owner', { withinMs: 30_000 });
  if (mode === 'hold') {
    console.log('holding');
    await new Promise(() => setInterval(() => undefined, 1_000));
  }
  if (existsSync(mark)) console.log('NOT ALONE');
  writeFileSync(mark, String(process.pid));
  const count = Number(readFileSync(counter, 'utf8'));
  await delay(Math.random() * 3);
  writeFileSync(counter, String(count + 1));
  if (readFileSync(mark, 'utf8') !== String(process.pid)) console.log('NOT ALONE');
  rmSync(mark);
  await held.release();
}
console.log('done');
