/** The scripts of operations: only the start that has taken one last changes it. */
import { defineScript } from 'millrace';

export const takeOperation = defineScript({
  file: 'dashboard/take-operation.lua',
  keys: ['operation', 'alive'],
  args: ['token', 'plan', 'progress', 'aliveMs', 'keepMs'],
  reply: (spent: number): number | undefined => (spent < 0 ? undefined : spent),
});

export const beatOperation = defineScript({
  file: 'dashboard/beat-operation.lua',
  keys: ['operation', 'alive'],
  args: ['token', 'progress', 'aliveMs', 'keepMs'],
  reply: ([isOurs, abort = '']: [0 | 1, string?]) => ({
    isTaken: isOurs === 0,
    abortedBy: abort === '' ? undefined : abort,
  }),
});

export const spendOperation = defineScript({
  file: 'dashboard/spend-operation.lua',
  keys: ['operation'],
  args: ['token', 'count'],
  reply: (isOurs: 0 | 1): boolean => isOurs === 1,
});

export const endOperation = defineScript({
  file: 'dashboard/end-operation.lua',
  keys: ['operation', 'alive'],
  args: ['token', 'state', 'progress', 'note', 'unspent', 'keepMs'],
  reply: (isOurs: 0 | 1): boolean => isOurs === 1,
});
