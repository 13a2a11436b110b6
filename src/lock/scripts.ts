/** The scripts of mutexes, bound to names. */
import { defineScript, explainScriptError, isNoScript, type Script, type ScriptClient } from '../redis/script.ts';
import { MillraceError } from '../errors.ts';
import type { Guard } from '../redis/guard.ts';
import type { ReleaseOutcome } from './lock-scripts.ts';

const KEYS = ['holder', 'queue', 'fence'] as const;
/** The others are made of it by the script. */
const HOT_KEYS = ['holder'] as const;
const HOME = ['name', 'channels', 'counts'] as const;

/** The keys of one mutex. */
export type MutexKeys = Readonly<Record<(typeof KEYS)[number], string>>;

/** The token of who was granted the lock; or who must wait, or may not, and the ms of the lease in the way. */
export type AcquireReply = string | ['queued', number?] | ['refused', number];
/** How it ended, and the waiter of this process who was handed the lock. */
export type GiveReply = [outcome: ReleaseOutcome, waiterId?: string, token?: string];
/** 1 when it was released, and nobody of this process is to be told. */
export type ReleaseReply = 1 | GiveReply;

export const acquireScript = defineScript({
  file: 'lock/acquire.lua',
  keys: HOT_KEYS,
  args: ['me', 'ttlMs', 'how'],
  reply: (reply: AcquireReply) => reply,
});
export const releaseScript = defineScript({
  file: 'lock/release.lua',
  keys: HOT_KEYS,
  args: ['mine', 'heldUs', 'home'],
  reply: (reply: ReleaseReply) => reply,
});
export const giveBackScript = defineScript({
  file: 'lock/give-back.lua',
  keys: KEYS,
  args: ['mine', 'entry', 'process', ...HOME, 'only'],
  reply: (reply: GiveReply) => reply,
});
export const watchScript = defineScript({
  file: 'lock/watch.lua',
  keys: KEYS,
  args: ['me', ...HOME],
  reply: (reply: ['granted', string] | ['queued', number] | ['gone']) => reply,
});
export const extendScript = defineScript({
  file: 'lock/extend.lua',
  keys: ['holder', 'fence'],
  args: ['mine', 'ttlMs'],
  reply: (isHeld: number) => isHeld === 1,
});

type InspectReply = [
  holder: string | null,
  leaseMs: number,
  lastToken: string,
  waiting: number,
  nowUs: string,
  ...waiters: string[],
];

export const inspectScript = defineScript({
  file: 'lock/inspect.lua',
  keys: KEYS,
  args: ['shown'],
  reply: ([holder, leaseMs, lastToken, waiting, nowUs, ...waiters]: InspectReply) => {
    return { holder, leaseMs, lastToken: Number(lastToken), waiting, nowUs: Number(nowUs), waiters };
  },
});

type Hot<Args extends readonly string[], Reply> = Script<typeof HOT_KEYS, Args, Reply>;

/**
 * A call of acquire.lua or release.lua, laid out by hand: every lock is two of them, and checking their arguments would take longer than
 * anything else that is ours. Rejects with what the guard says; mended() makes the best of it.
 */
export function sendHot<Args extends readonly string[], Reply>(
  guard: Pick<Guard, 'run'>,
  client: ScriptClient,
  script: Hot<Args, Reply>,
  holder: string,
  first: string,
  second: string,
  third: string,
): Promise<Reply> {
  return guard.run(() => client.evalsha(script.sha, '1', holder, first, second, third) as Promise<Reply>);
}

/** What became of a hot call that failed: asked again with the script's text where the server had forgotten it. */
export function mended<Args extends readonly string[], Reply>(
  error: unknown,
  guard: Pick<Guard, 'run'>,
  client: ScriptClient,
  script: Hot<Args, Reply>,
  holder: string,
  args: Parameters<Hot<Args, Reply>>[2],
): Promise<Reply> {
  if (error instanceof MillraceError && isNoScript(error.cause))
    return guard.run(() => script(client, { holder }, args));
  throw explainScriptError(error, script.file, client);
}
