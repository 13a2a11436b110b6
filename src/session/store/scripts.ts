/** The acts on sessions of express-session, each one script; what they do to the keys stands at the top of each file. */
import { defineScript } from '../../redis/script.ts';

/** What became of a write. `ended`: the session was ended; `gone`: it has run out. In both cases nothing is written. */
export type SaveOutcome = 'saved' | 'ended' | 'gone';

export const saveSession = defineScript({
  file: 'session/store/save.lua',
  keys: ['session'],
  args: ['data', 'user', 'isKnown', 'ttlMs', 'absoluteMs'],
  reply: (outcome: SaveOutcome) => outcome,
});

export const touchSession = defineScript({
  file: 'session/store/touch.lua',
  keys: ['session'],
  args: ['ttlMs', 'absoluteMs'],
  reply: (isThere: number) => isThere === 1,
});

export const endSession = defineScript({
  file: 'session/store/end.lua',
  keys: ['session'],
  args: ['user', 'keepMs', 'strangerMs'],
  reply: ([ended, user]: [number, string]) => ({ ended: ended === 1, user }),
});

export const noteSession = defineScript({
  file: 'session/store/note.lua',
  keys: ['notes'],
  args: ['session', 'ttlMs'],
  reply: (count: number) => count,
});
