/** The scripts of the event store. Each is safe to send again; of append that holds for events that were named. */
import { defineScript } from '../../redis/script.ts';
import type { RawEntry } from './entry.ts';

export type AppendOutcome = 'appended' | 'duplicate' | 'conflict' | 'taken';

export const append = defineScript({
  file: 'streams/event-store/append.lua',
  keys: ['versions', 'stream', 'all', 'ids'],
  args: ['streamId', 'expected', 'isNamed', 'mark', '...events'],
  reply: ([outcome, version, position]: [AppendOutcome, string, string]) => ({
    outcome,
    version: Number(version),
    position: Number(position),
  }),
});

export const erase = defineScript({
  file: 'streams/event-store/erase.lua',
  keys: ['stream', 'snapshots', 'ids'],
  args: [],
  reply: (removed: number) => removed,
});

export const load = defineScript({
  file: 'streams/event-store/load.lua',
  keys: ['versions', 'stream', 'snapshots', 'ids'],
  args: ['streamId', 'aggregate', 'hash', 'commandId', 'count'],
  reply: ([version, from, state, done, entries]: [string, string, string, string, RawEntry[]]) => ({
    version: Number(version),
    from: Number(from),
    state,
    doneAt: Number(done),
    entries,
  }),
});

export const saveSnapshot = defineScript({
  file: 'streams/event-store/save-snapshot.lua',
  keys: ['snapshots', 'stream'],
  args: ['aggregate', 'first', 'version', 'hash', 'state'],
  reply: (kept: number) => kept === 1,
});

export const openSubscription = defineScript({
  file: 'streams/event-store/open-subscription.lua',
  keys: ['checkpoint', 'all'],
  args: ['begin'],
  reply: ([position, mark]: [string, string]) => ({ position: Number(position), mark }),
});

export const moveCheckpoint = defineScript({
  file: 'streams/event-store/move-checkpoint.lua',
  keys: ['checkpoint', 'leader', 'all'],
  args: ['token', 'position', 'mark'],
  reply: (outcome: 'noted' | 'other' | 'lost') => outcome,
});

export const openProjection = defineScript({
  file: 'streams/event-store/open-projection.lua',
  keys: ['builds', 'all'],
  args: [],
  reply: ([build, at]: [string, string]) => ({ build, at: Number(at) }),
});

export type CommitOutcome = 'moved' | 'other' | 'gone';

export const commit = defineScript({
  file: 'streams/event-store/commit.lua',
  keys: ['builds', 'documents', 'all'],
  args: ['build', 'readAt', 'newAt', 'mark', '...changes'],
  reply: ([outcome, at]: [CommitOutcome, string]) => ({ outcome, at: Number(at) }),
});

export const startRebuild = defineScript({
  file: 'streams/event-store/start-rebuild.lua',
  keys: ['builds', 'abandoned'],
  args: ['found', 'recipe'],
  reply: (build: string) => (build === '0' ? undefined : build),
});

export const swapBuild = defineScript({
  file: 'streams/event-store/swap-build.lua',
  keys: ['builds', 'oldDocuments'],
  args: ['old', 'new', 'keepMs'],
  reply: (outcome: 'swapped' | 'behind' | 'changed') => outcome,
});
