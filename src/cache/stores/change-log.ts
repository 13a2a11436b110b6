/**
 * The pending changes of one store, as they lie in Redis: this file knows the keys and the scripts, and nothing of time or retries.
 *
 * Keys, all below `PREFIX:cache:{store/NAME}`:
 *   :changes   STREAM  one entry a pending change; never trimmed, only saved changes and replaced ones are removed
 *   :latest    HASH    key -> id of its pending change; a key has one at most
 *   :attempts  HASH    id -> how often it was taken to be saved
 *   :retries   ZSET    id -> when it may be tried again
 *   :untold    HASH    id -> 1 until its writer has dropped what the cache held
 *   :dead      STREAM  dead letters, one a key at most      :dead-keys  HASH  key -> id of its dead letter
 *   :version   STRING  the last version that was given
 *   :flusher   STRING  the token of the process that saves; lives for a lease
 *   :hurry     STRING  up to this version nothing waits for a fuller batch; lives for a minute
 * All but the last two hold what is nowhere else, so they do not expire; the limits of the options bound them.
 *
 * There is no consumer group: one process saves at a time, and what is in the stream is what is pending. So there are no entries that
 * were read and are nobody's, none that are claimed from one who still works on them, and nothing is ever trimmed.
 */
import type { Clock } from '../../clock.ts';
import type { Connections } from '../../redis/connect.ts';
import { createKeySpace } from '../../redis/keys.ts';
import type { Place } from '../../redis/place.ts';
import { defineScript, type ScriptClient } from '../../redis/script.ts';

const appendScript = defineScript({
  file: 'cache/stores/append.lua',
  keys: ['changes', 'latest', 'attempts', 'retries', 'untold', 'last', 'dead', 'deadKeys'],
  args: ['maxPending', '...fields'],
  reply: ([accepted, pending, letters, replaced, ...versions]: [number, number, number, number, ...string[]]) => ({
    isAccepted: accepted === 1,
    pending,
    replacedLetters: letters,
    replacedChanges: replaced,
    versions: versions.map(Number),
  }),
});

const lookScript = defineScript({
  file: 'cache/stores/look.lua',
  keys: ['changes', 'latest'],
  args: ['...keys'],
  reply: (flat: string[]) => pairs(flat).map(([kind, value]) => (kind === '' ? undefined : { kind, value })),
});

/** What the flusher does after a take. */
export type Next = 'more' | 'filling' | 'idle';

const takeScript = defineScript({
  file: 'cache/stores/take.lua',
  keys: ['changes', 'attempts', 'retries', 'untold', 'flusher', 'hurry'],
  args: ['token', 'leaseMs', 'after', 'batchSize', 'batchBytes', 'flushAfterUs', 'maxDelayUs'],
  reply: ([mine, after, next, waitMs, ...flat]: [number, string, Next, number, ...Array<string | number>]) => ({
    isMine: mine === 1,
    after,
    next,
    /** Undefined when no moment is known. */
    waitMs: waitMs < 0 ? undefined : waitMs,
    taken: takenOf(flat),
  }),
});

const settleScript = defineScript({
  file: 'cache/stores/settle.lua',
  keys: ['changes', 'latest', 'attempts', 'retries', 'untold', 'flusher', 'dead', 'deadKeys'],
  args: ['token', 'leaseMs', 'maxDead', '...outcomes'],
  reply: ([mine, ...became]: [number, ...Became[]]) => ({ isMine: mine === 1, became }),
});

const describeScript = defineScript({
  file: 'cache/stores/describe.lua',
  keys: ['changes', 'retries', 'flusher', 'dead', 'last'],
  args: [],
  reply: ([pending, retrying, deadLetters, flusher, oldest, oldestMs, last]: [
    number,
    number,
    number,
    number,
    string,
    number,
    string,
  ]) => ({
    pending,
    retrying,
    deadLetters,
    hasFlusher: flusher === 1,
    oldest: Number(oldest),
    oldestMs,
    last: Number(last),
  }),
});

const redriveScript = defineScript({
  file: 'cache/stores/redrive.lua',
  keys: ['changes', 'latest', 'untold', 'last', 'dead', 'deadKeys'],
  args: ['maxPending', '...letters'],
  reply: (flat: string[]) => pairs(flat).map(([key, id]) => (id === '' ? undefined : { key, id })),
});

const discardScript = defineScript({
  file: 'cache/stores/discard.lua',
  keys: ['dead', 'deadKeys'],
  args: ['...letters'],
  reply: (removed: number) => removed,
});

const hurryScript = defineScript({
  file: 'cache/stores/hurry.lua',
  keys: ['last', 'hurry'],
  args: ['ttlMs'],
  reply: (version: string) => Number(version),
});

/** A change as it is written down. */
export interface Draft {
  readonly key: string;
  readonly kind: 'set' | 'remove';
  /** As JSON; empty for a removal. */
  readonly value: string;
}

/** A change that was taken to be saved. */
export interface Taken extends Draft {
  readonly id: string;
  readonly version: number;
  /** How often it was taken, this time included. */
  readonly attempt: number;
  readonly redriven: number;
  /** Whether its writer may have died before the cache was told. */
  readonly isUntold: boolean;
}

/** What became of a change, as the flusher has it. */
export interface Verdict {
  readonly id: string;
  readonly outcome: 'saved' | 'retry' | 'back' | 'dead';
  readonly delayMs: number;
  /** As JSON; empty unless dead. */
  readonly error: string;
}

/** What became of it in Redis: there may be no room for a dead letter, and a newer change may have replaced it. */
export type Became = Verdict['outcome'] | 'full' | 'replaced';

/** How long the wish of a flush() stands; it is made again while somebody waits. */
const HURRY_MS = 60_000;
/** What one take may carry. */
const BATCH_BYTES = 4 * 1024 * 1024;

/** The changes of one store. */
export class ChangeLog {
  readonly #connections: Pick<Connections, 'commands'>;
  readonly keys: Readonly<Record<KeyName, string>>;

  constructor(connections: Pick<Connections, 'commands'>, prefix: string, store: string) {
    this.#connections = connections;
    const key = createKeySpace(prefix, 'cache');
    const at = (name: string): string => key(`store/${store}`, name);
    this.keys = Object.freeze({
      changes: at('changes'),
      latest: at('latest'),
      attempts: at('attempts'),
      retries: at('retries'),
      untold: at('untold'),
      last: at('version'),
      flusher: at('flusher'),
      hurry: at('hurry'),
      dead: at('dead'),
      deadKeys: at('dead-keys'),
    });
  }

  /** Accepts all of the changes, or none when there is no room. */
  append(drafts: readonly Draft[], maxPending: number): Promise<ReturnOf<typeof appendScript>> {
    const fields = drafts.flatMap(({ key, kind, value }) => [key, kind, value]);
    return appendScript(this.#client, this.keys, { maxPending, fields });
  }

  /** The pending change of each key. */
  look(keys: readonly string[]): Promise<ReturnOf<typeof lookScript>> {
    return lookScript(this.#client, this.keys, { keys });
  }

  /** Notes that the writer of the changes has told the cache. */
  async told(versions: readonly number[]): Promise<void> {
    await this.#client.hdel(this.keys.untold, ...versions.map(idOf));
  }

  /** That of the one process that saves. */
  place(token: string, leaseMs: number, clock: Clock): Place {
    return { client: () => this.#client, key: this.keys.flusher, token, leaseMs, clock };
  }

  take(
    token: string,
    how: { leaseMs: number; after: string; batchSize: number; flushAfterMs: number; maxDelayMs: number },
  ): Promise<ReturnOf<typeof takeScript>> {
    const { leaseMs, after, batchSize, flushAfterMs, maxDelayMs } = how;
    return takeScript(this.#client, this.keys, {
      token,
      leaseMs,
      after,
      batchSize,
      batchBytes: BATCH_BYTES,
      flushAfterUs: flushAfterMs * 1_000,
      maxDelayUs: maxDelayMs * 1_000,
    });
  }

  settle(
    token: string,
    how: { leaseMs: number; maxDead: number },
    verdicts: readonly Verdict[],
  ): Promise<ReturnOf<typeof settleScript>> {
    const outcomes = verdicts.flatMap(({ id, outcome, delayMs, error }) => [id, outcome, delayMs, error]);
    return settleScript(this.#client, this.keys, { token, ...how, outcomes });
  }

  describe(): Promise<ReturnOf<typeof describeScript>> {
    return describeScript(this.#client, this.keys, {});
  }

  /** Redrives the letters in turn, as far as there is room; undefined stands for one that is gone. */
  redrive(letters: readonly string[], maxPending: number): Promise<ReturnOf<typeof redriveScript>> {
    return redriveScript(this.#client, this.keys, { maxPending, letters });
  }

  discard(letters: readonly string[]): Promise<number> {
    return discardScript(this.#client, this.keys, { letters });
  }

  /** The version up to which all will be saved without waiting for fuller batches. */
  async hurry(): Promise<number> {
    return hurryScript(this.#client, this.keys, { ttlMs: HURRY_MS });
  }

  get #client(): ScriptClient {
    return this.#connections.commands();
  }
}

type KeyName =
  | 'changes'
  | 'latest'
  | 'attempts'
  | 'retries'
  | 'untold'
  | 'last'
  | 'flusher'
  | 'hurry'
  | 'dead'
  | 'deadKeys';

type ReturnOf<Call extends (...args: never[]) => Promise<unknown>> = Awaited<ReturnType<Call>>;

/** The id in the stream of the change with the version. */
export function idOf(version: number): string {
  return `${version}-0`;
}

function pairs(flat: readonly string[]): Array<[string, string]> {
  const list: Array<[string, string]> = [];
  for (let at = 0; at < flat.length; at += 2) list.push([flat[at] ?? '', flat[at + 1] ?? '']);
  return list;
}

const TAKEN_FIELDS = 8;

function takenOf(flat: ReadonlyArray<string | number>): Taken[] {
  const list: Taken[] = [];
  for (let at = 0; at < flat.length; at += TAKEN_FIELDS) {
    const [id, key, kind, value, , redriven, attempt, untold] = flat.slice(at, at + TAKEN_FIELDS).map(String);
    list.push({
      id: id ?? '',
      key: key ?? '',
      kind: kind === 'remove' ? 'remove' : 'set',
      value: value ?? '',
      version: Number.parseInt(id ?? '', 10),
      redriven: Number(redriven),
      attempt: Number(attempt),
      isUntold: untold === '1',
    });
  }
  return list;
}
