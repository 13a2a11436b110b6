/** Reads a ring from a position on, until whoever reads has all that was said. */
import type { Clock } from '../clock.ts';
import { isMillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { isOutage } from '../redis/guard.ts';
import { comparePositions, type Envelope, type Position } from './envelope.ts';
import type { Missing, Ring } from './ring.ts';

/** Who follows. */
export interface Follower {
  readonly ring: Ring;
  readonly clock: Clock;
  readonly log: Logger;
  /** Ends the following. */
  readonly signal: AbortSignal;
  /** How far others have heard by now; until then there is something to read. */
  target(): Position;
  /** Resolves once there is room for more. */
  hasRoom(): Promise<void>;
  /** The most messages of the next page, if there is a limit of its own. */
  pageSize?(): number;
  /** @returns false when there was no room for it. */
  take(message: Envelope): boolean;
  onMissing(missing: Missing): void;
  /** Nothing was ever said as late as this position; it goes on after the last message. */
  onAhead?(after: Position): void;
  onMoved(cursor: Position): void;
  /** It has all, at this very moment: what is heard from now on is for the follower to take. */
  onDone(): void;
}

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2_000;

/**
 * Follows until the target is reached, and resolves with how far it came. Never rejects: while Redis cannot be asked, it asks again.
 *
 * @param from A position; undefined for whatever is kept.
 */
export async function followRing(follower: Follower, from: Position | undefined): Promise<void> {
  const { ring, signal } = follower;
  let cursor = from;
  while (!signal.aborted) {
    await follower.hasRoom();
    const target = follower.target();
    const after = cursor;
    const page = await persistently(follower, () => ring.after(after, follower.pageSize?.()));
    if (!page || signal.aborted) return;
    if (page.missing) follower.onMissing(page.missing);
    if (page.isAhead && after !== undefined) follower.onAhead?.(after);
    let isTaken = true;
    for (const message of page.messages) {
      isTaken = follower.take(message);
      if (!isTaken) break;
      cursor = message.position ?? cursor;
      follower.onMoved(cursor ?? '');
    }
    if (!isTaken) continue;
    cursor = page.next;
    follower.onMoved(cursor);
    if (!page.isEnd) continue;
    const now = follower.target();
    // What was heard of before the page was asked for, and is not in it, is not kept any more.
    if (comparePositions(now, cursor) <= 0 || (page.messages.length === 0 && now === target)) return follower.onDone();
  }
}

/** What Redis answers in the end; undefined once the signal has aborted. */
export async function persistently<T>(
  { clock, log, signal }: Pick<Follower, 'clock' | 'log' | 'signal'>,
  ask: () => Promise<T>,
): Promise<T | undefined> {
  let pauseMs = FIRST_PAUSE_MS;
  let toldCode: string | undefined;
  while (!signal.aborted) {
    try {
      return await ask();
    } catch (error) {
      const code = isMillraceError(error) ? error.code : 'none';
      // Of an outage its client tells, and it passes; what an ACL forbids nobody else would tell of.
      const mustTell = !signal.aborted && code !== toldCode && !(isMillraceError(error) && isOutage(error));
      if (mustTell) toldCode = code;
      log[mustTell ? 'warn' : 'debug']({ err: error, code }, 'the messages that were missed cannot be read yet');
    }
    // Only its signal ends the sleep early, and the loop with it.
    await clock.sleep(pauseMs * (0.5 + Math.random() / 2), { signal }).catch(() => undefined);
    pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2);
  }
  return undefined;
}
