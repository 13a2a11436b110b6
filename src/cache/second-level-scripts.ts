/** The scripts of the second level, bound to names. lua/cache has what each of them does. */
import { defineScript } from '../redis/script.ts';

/** For each value: its bytes, null for none, ASK_AGAIN, or NO_VALUE for what cannot be read. */
export type ReadAnswer = Buffer | number | null;

/** The values of this call are large enough; ask for this one with the next. */
export const ASK_AGAIN = 1;

/** Server µs are below 2^53 and travel as an integer, so nothing of them is lost. */
export const readValues = defineScript({
  file: 'cache/read.lua',
  keys: ['epoch', 'generation', '...values'],
  args: ['freshMark', 'keepMs'],
  reply: (raw: [number, ...ReadAnswer[]]) => raw,
  binary: true,
});

const LEASE_STATES = { 1: 'granted', 2: 'found', 3: 'busy', 4: 'backing-off' } as const;

export const takeLease = defineScript({
  file: 'cache/lease.lua',
  keys: ['epoch', 'value', 'lease'],
  args: ['token', 'seen', 'leaseMs', 'keepMs', '...tags'],
  reply: ([state, nowUs, value, waitMs]: [1 | 2 | 3 | 4, number, Buffer | null, number]) => ({
    state: LEASE_STATES[state],
    nowUs,
    value,
    waitMs,
  }),
  binary: true,
});

export const captureTags = defineScript({
  file: 'cache/capture.lua',
  keys: ['epoch', 'lease'],
  args: ['token', 'keepMs', '...tags'],
  reply: (captured: number) => captured === 1,
});

export const storeLoaded = defineScript({
  file: 'cache/store.lua',
  keys: ['epoch', 'value', 'lease', 'generation'],
  args: ['token', 'form', 'payload', 'freshMs', 'staleMs', 'deltaMs', 'channel', 'stored', 'failed', 'keepMs'],
  reply: (stored: number) => stored === 1,
});

export const setValue = defineScript({
  file: 'cache/set.lua',
  keys: ['epoch', 'value', 'lease', 'generation'],
  args: ['id', 'form', 'payload', 'freshMs', 'staleMs', 'deltaMs', 'keepMs', 'channel', 'message', '...tags'],
  reply: () => undefined,
});

export const deleteValues = defineScript({
  file: 'cache/delete.lua',
  keys: ['...keys'],
  args: ['channel', '...messages'],
  reply: (deleted: number) => deleted,
});

export const failLoad = defineScript({
  file: 'cache/fail.lua',
  keys: ['value', 'lease'],
  args: ['token', 'backoffMs', 'channel', 'message'],
  reply: (given: number) => given === 1,
});

export const renewLease = defineScript({
  file: 'cache/renew.lua',
  keys: ['lease'],
  args: ['token', 'leaseMs'],
  reply: (renewed: number) => renewed === 1,
});
