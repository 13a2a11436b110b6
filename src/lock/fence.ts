/**
 * A fence: what a store asks before it lets the holder of a lock write.
 *
 * A holder that was paused past its lease does not know that another one has come after it. Its token is older, though, and a store
 * that has seen the newer one refuses it. Storage that can compare tokens itself, as a database can in the WHERE of an UPDATE, does so
 * best by itself, in the same transaction; this is for storage that cannot.
 *
 * Promise: once a token was accepted, no older one is, whoever asks, until nobody has come for as long as the fence remembers (7 days).
 * Key: `PREFIX:lock:{RESOURCE}:checked`, a STRING. What Redis forgets (a restart without persistence, a failover that loses the last
 * write) the fence forgets.
 * Redis down: check() throws LOCK_UNAVAILABLE, because a fence that cannot be asked must not let anybody pass.
 */
import { toMs, type Duration } from '../durations.ts';
import { describeValue, MillraceError } from '../errors.ts';
import type { Connections } from '../redis/connect.ts';
import type { Guard } from '../redis/guard.ts';
import type { KeySpace } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';

/** How long the newest token is remembered after anybody came. */
const DEFAULT_MEMORY: Duration = '7d';

/** What a fence said. */
export interface FenceVerdict {
  /** Whether no newer token has been here. */
  readonly accepted: boolean;
  /** The newest token that was accepted, this one included. */
  readonly latest: number;
}

const checkToken = defineScript({
  file: 'lock/fence.lua',
  keys: ['checked'],
  args: ['token', 'keepMs'],
  reply: ([accepted, latest]: [number, string]): FenceVerdict => ({
    accepted: accepted === 1,
    latest: Number(latest),
  }),
});

/** What a fence needs. */
export interface FenceParts {
  readonly connections: Pick<Connections, 'commands'>;
  /** The keys of the lock module. */
  readonly keys: KeySpace;
  readonly guard: Pick<Guard, 'run'>;
}

/**
 * Guards one resource against holders that are no longer the newest.
 *
 * @example
 * const fence = locks.fence('ledger');
 * const { accepted } = await fence.check(lock.token);
 * if (!accepted) return; // Somebody newer has been here.
 */
export class Fence {
  readonly resource: string;
  readonly #parts: FenceParts;
  readonly #key: string;
  readonly #keepMs: number;

  /** @param memory How long the newest token is remembered after anybody came; longer than any holder could be paused. */
  constructor(parts: FenceParts, resource: string, memory: Duration = DEFAULT_MEMORY) {
    this.resource = resource;
    this.#parts = parts;
    this.#key = parts.keys(resource, 'checked');
    this.#keepMs = Math.max(1, toMs(memory));
  }

  /**
   * Whether the holder of the token may go on: as new as the newest so far, or newer, which makes it the newest.
   *
   * @throws MillraceError OPTIONS_INVALID when it is no token; LOCK_UNAVAILABLE when Redis could not be asked
   */
  async check(token: number): Promise<FenceVerdict> {
    if (!Number.isSafeInteger(token) || token < 0) {
      const message = `fence ${this.resource}: expected the token of a lock, got ${describeValue(token)}`;
      throw new MillraceError('OPTIONS_INVALID', message, { resource: this.resource });
    }
    const { connections, guard } = this.#parts;
    const args = { token, keepMs: this.#keepMs };
    try {
      return await guard.run(() => checkToken(connections.commands(), { checked: this.#key }, args));
    } catch (cause) {
      const message = `fence ${this.resource}: Redis could not be asked, so nobody may pass`;
      throw new MillraceError('LOCK_UNAVAILABLE', message, { resource: this.resource, fence: token, cause });
    }
  }
}
