/** The scripts of leaderboards, bound to names. */
import { defineScript } from '../redis/script.ts';

/** What a script says instead of its answer: the clock is in another period, or the board was made with other settings. */
export type Objection = readonly ['clock', nowMs: number] | readonly ['settings', settings: string];

/** {ms, then of each entry score, rank or 0, previous score or '', whether it is better, new|known|refused} */
export type SubmitReply = readonly [nowMs: number, ...facts: Array<string | number>];

export const submitScript = defineScript({
  file: 'leaderboard/submit.lua',
  keys: ['state', '...keys'],
  args: [
    'settings',
    'policy',
    'adds',
    'ties',
    'ranking',
    'tells',
    'most',
    'largest',
    'boards',
    'buckets',
    'ended',
    'told',
    'fromMs',
    'untilMs',
    'memoryMs',
    '...rest',
  ],
  reply: (reply: SubmitReply | Objection) => reply,
});

/** Members with their scores, as the ZSET has them: member, score, member, score ... */
export type Pairs = readonly string[];
/** Metadata as JSON, of each of them; false for none. */
export type Metadata = ReadonlyArray<string | false>;
/** A run of a board. */
export interface Run {
  /** Of the board, or between the scores; 0 around a member. */
  readonly total: number;
  readonly start: number;
  readonly rank: number;
  /** How many entries of the list come before. */
  readonly lead: number;
  /** The place of the member that was asked for. */
  readonly own: number;
  readonly list: Pairs;
  readonly metadata: Metadata;
}

type RunReply = [total: number, start: number, rank: number, lead: number, own: number, list: string, metadata: string];

/** Lua writes a list without entries as an object. */
function listOf(json: string): readonly never[] {
  return json === '{}' ? [] : (JSON.parse(json) as never[]);
}

const READ_KEYS = ['ranks', '...others'] as const;

export const readScript = defineScript({
  file: 'leaderboard/read.lua',
  keys: READ_KEYS,
  args: ['form', 'how', 'first', 'last', '...slice'],
  reply: (run: RunReply | null): Run | undefined => {
    if (!run) return undefined;
    const [total, start, rank, lead, own, list, metadata] = run;
    return { total, start, rank, lead, own, list: listOf(list), metadata: listOf(metadata) };
  },
});

/** {members of the board, then of each that is there: number, place, rank, score, how many are worse, metadata} */
export type MembersReply = readonly [total: number, ...facts: Array<number | string | null>];

export const readMembersScript = defineScript({
  file: 'leaderboard/read-members.lua',
  keys: READ_KEYS,
  args: ['ranking', 'timed', 'tells', '...members'],
  reply: (reply: MembersReply) => reply,
});

export const readAfterScript = defineScript({
  file: 'leaderboard/read-after.lua',
  keys: ['ranks', '...metadata'],
  args: ['timed', 'score', 'stored', 'count'],
  reply: ([list, metadata]: [string, string]): Pick<Run, 'list' | 'metadata'> => ({
    list: listOf(list),
    metadata: listOf(metadata),
  }),
});

export const uniteScript = defineScript({
  file: 'leaderboard/unite.lua',
  keys: ['ranks', 'scores', '...buckets'],
  args: ['aggregate', 'ranking', 'refreshMs', 'spareMs'],
  reply: (isMade: number) => isMade === 1,
});

export const removeScript = defineScript({
  file: 'leaderboard/remove.lua',
  keys: ['...keys'],
  args: ['member', 'boards', 'timed', 'fromMs', 'untilMs'],
  reply: (reply: number | Objection) => reply,
});

export const setMetadataScript = defineScript({
  file: 'leaderboard/set-metadata.lua',
  keys: ['...keys'],
  args: ['member', 'boards', 'timed', 'fromMs', 'untilMs', 'about'],
  reply: (reply: number | Objection) => reply,
});

export const closeSeasonScript = defineScript({
  file: 'leaderboard/close-season.lua',
  keys: ['state', 'archives', '...keys'],
  args: ['settings', 'name', 'keepMs', 'memoryMs'],
  reply: (reply: [isNew: number, ms: string, members: string] | Objection) => reply,
});

export const deleteArchiveScript = defineScript({
  file: 'leaderboard/delete-archive.lua',
  keys: ['archives', '...keys'],
  args: ['name'],
  reply: (count: number) => count === 1,
});

export const meetScript = defineScript({
  file: 'leaderboard/meet.lua',
  keys: ['state'],
  args: [],
  reply: ([settings, nowMs]: [string, number]) => ({ settings, nowMs }),
});
