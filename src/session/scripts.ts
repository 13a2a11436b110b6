/** The scripts of sessions, bound to names. */
import { defineScript } from '../redis/script.ts';

/** What becomes of a token that is presented. */
export type Presented =
  | readonly ['gone' | 'stranger' | 'stale']
  | readonly ['current' | 'rotated' | 'elevated' | 'previous' | 'reused', value: string];

/** What becomes of a session that begins: it does, or these sessions must be named first. */
export type Begun =
  | { readonly isBegun: true; readonly value: string; readonly hasReplaced: boolean; readonly ended: string[] }
  | { readonly isBegun: false; readonly ids: string[] };

/** Begins a session. */
export const createScript = defineScript({
  file: 'session/create.lua',
  keys: ['home', 'own', '...owns'],
  args: [
    'layout',
    'id',
    'hash',
    'family',
    'level',
    'rest',
    'idleMs',
    'absoluteMs',
    'most',
    'channel',
    'message',
    'replaced',
    'farewell',
    '...ids',
  ],
  reply: ([value, replaced, ...others]: [string, number, ...string[]]): Begun =>
    value === ''
      ? { isBegun: false, ids: others }
      : { isBegun: true, value, hasReplaced: replaced === 1, ended: others },
});

/** Settles what a look at a session could not. */
export const presentScript = defineScript({
  file: 'session/present.lua',
  keys: ['home', 'own'],
  args: [
    'layout',
    'id',
    'presented',
    'kin',
    'number',
    'wants',
    'successor',
    'seed',
    'toLevel',
    'atLeast',
    'idleMs',
    'absoluteMs',
    'touchMs',
    'rotateMs',
    'graceMs',
    'rest',
    'ofVersion',
    'channel',
    'message',
  ],
  reply: (presented: Presented): Presented => presented,
});

/** Replaces a session's data. */
export const updateScript = defineScript({
  file: 'session/update.lua',
  keys: ['home', 'own'],
  args: ['layout', 'id', 'ofVersion', 'rest', 'idleMs', 'absoluteMs'],
  reply: ([outcome, value]: ['gone' | 'version' | 'updated', string?]) => ({ outcome, value }),
});

/** Ends one. */
export const revokeScript = defineScript({
  file: 'session/revoke.lua',
  keys: ['home', 'own'],
  args: ['layout', 'id', 'channel', 'message'],
  reply: (ended: number) => ended === 1,
});

/** Ends all of a user. */
export const revokeAllScript = defineScript({
  file: 'session/revoke-all.lua',
  keys: ['home', '...owns'],
  args: ['layout', 'except', 'channel', 'message', '...ids'],
  reply: ([ended, left]: [string[], string[]]) => ({ ended, left }),
});

/** All of a user. */
export const listScript = defineScript({
  file: 'session/list.lua',
  keys: ['home', '...owns'],
  args: ['layout', '...ids'],
  reply: ([now, ...flat]: [string, ...string[]]) => ({ nowMs: Number(now), flat }),
});
