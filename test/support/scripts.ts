/** Scripts for tests, below `test/support/lua/`. */
import { defineScript } from '../../src/redis/script.ts';

const folder = new URL('./lua/', import.meta.url);

export const count = defineScript({
  folder,
  file: 'count.lua',
  keys: ['counter'],
  args: ['step'],
  reply: (total: number) => total,
});

export const storeList = defineScript({
  folder,
  file: 'store-list.lua',
  keys: ['total', '...others'],
  args: ['label', '...values'],
  reply: ([label, total, values]: [string, number, string[]]) => ({ label, total, values }),
});

export const storeBytes = defineScript({
  folder,
  file: 'store-bytes.lua',
  keys: ['blob'],
  args: ['bytes'],
  binary: true,
  reply: ([bytes, size]: [Buffer, number]) => ({ bytes, size }),
});

export const fail = defineScript({
  folder,
  file: 'fail.lua',
  keys: ['text'],
  args: ['how'],
  reply: (raw: string) => raw,
});
