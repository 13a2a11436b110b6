/**
 * Permits as Waiting and LeaseKeeper know locks: how they are asked for, kept and given back.
 *
 *   asking --fits, and nobody waits ahead--> holding --release, expiry, force--> gone
 *     '--else--> queued --somebody gave back, died, or permits were added--> holding
 *
 * Promise: the weights held never exceed the permits that there are, but for those that were held before permits were taken away. The queue
 * is strict: nobody passes a heavy waiter that does not fit yet, so it is never starved. Passed over are only those that could not fit if
 * all were free, and those whose process was silent for 5 s while others were heard; both keep their places, until a process has been
 * silent for a minute.
 * A grant to another process counts for 2 s until that process confirms it, so the dead hold nobody up for longer.
 * Keys: see scripts.ts. Redis down: every call throws the MillraceError of the connection.
 */
import type { Clock } from '../../clock.ts';
import type { Connections } from '../../redis/connect.ts';
import type { KeySpace } from '../../redis/keys.ts';
import type { Guard } from '../../redis/guard.ts';
import type { ScriptClient } from '../../redis/script.ts';
import {
  KeptKeys,
  type AcquireHow,
  type GivenBack,
  type Gone,
  type Granted,
  type LockRequest,
  type LockScripts,
  type Queued,
  type Refused,
  type ReleaseHow,
  type ReleaseOutcome,
} from '../lock-scripts.ts';
import type { Waiting } from '../waiting.ts';
import {
  acquirePermits,
  extendPermits,
  findHolder,
  giveBackPermits,
  inspectPermits,
  permitKeys,
  type AcquireMode,
  type AcquireReply,
  type GiveBackReply,
  type PermitKeys,
  type PermitUse,
  type PermitsSeen,
} from './scripts.ts';

/** How long another process has to confirm what it was granted. */
export const CLAIM_MS = 2_000;
/** For how long a process may be silent while others are heard; the oldest waiter of each is heard once a second. */
export const PATIENCE_MS = 5_000;
/** For how long the waiters of such a process keep their places. */
export const MEMORY_MS = 60_000;
/** When to look again where no lease stands in the way, but there are too few permits. */
const LOOK_AGAIN_MS = 1_000;
/** Of how many holders, and of how many waiters, inspect() tells. */
const MOST_TOLD = 1_000;

/** A request for permits. */
export interface PermitRequest extends LockRequest {
  /** How many permits. */
  readonly weight: number;
  /** What for: `shared`, `exclusive`, or `permits`. */
  readonly mode: string;
  /** How many permits there are where nobody has set it. */
  readonly declared: number;
}

type GiveBackArgs = Parameters<typeof giveBackPermits>[2];

/** What the scripts of permits need. */
export interface PermitScriptsParts {
  readonly connections: Pick<Connections, 'commands'>;
  /** The keys of the lock module. */
  readonly keys: KeySpace;
  readonly guard: Pick<Guard, 'run'>;
  readonly clock: Clock;
  readonly waiting: Pick<Waiting, 'processId' | 'channelPrefix'>;
}

/** The permits of one use. */
export class PermitScripts implements LockScripts {
  readonly kind: string;
  readonly #keys: KeptKeys<PermitKeys>;
  readonly #parts: PermitScriptsParts;

  constructor(parts: PermitScriptsParts, use: PermitUse) {
    this.kind = use === 'semaphore' ? 's' : 'r';
    this.#keys = new KeptKeys((name) => permitKeys(parts.keys, use, name));
    this.#parts = parts;
  }

  /** The keys of a name. */
  keysOf(name: string): PermitKeys {
    return this.#keys.of(name);
  }

  async acquire(request: PermitRequest, { mayQueue, look }: AcquireHow): Promise<Granted | Queued | Refused> {
    const sentAtMs = this.#parts.clock.monotonicMs();
    const reply = await this.#acquire(request, mayQueue ? 'queue' : 'try');
    if (reply.status === 'granted') return { ...reply, sentAtMs };
    // Whoever is alive and fits was granted by the same script, so that nothing lies idle.
    if (reply.status !== 'queued') return { status: 'refused', isFree: false };
    return { status: 'queued', leftMs: look ? leftMs(reply.nextEndMs) : undefined };
  }

  async watch(request: PermitRequest): Promise<Granted | Queued | Gone> {
    const sentAtMs = this.#parts.clock.monotonicMs();
    const reply = await this.#acquire(request, 'watch');
    if (reply.status === 'granted') return { ...reply, sentAtMs };
    return reply.status === 'gone' ? reply : { status: 'queued', leftMs: leftMs(reply.nextEndMs) };
  }

  /** A waiter that was forgotten, and granted after all, is known by its name and id only. */
  async cancel(request: LockRequest & { readonly declared?: number }): Promise<GivenBack> {
    const sentAtMs = this.#parts.clock.monotonicMs();
    const { granted } = await this.#giveBack(request, {});
    return { granted, sentAtMs };
  }

  /** Whoever brings a connection has a deadline of his own. */
  async extend(
    { name, waiterId }: LockRequest,
    token: number,
    ttlMs: number,
    client?: ScriptClient,
  ): Promise<{ isHeld: boolean; sentAtMs: number }> {
    const { connections, guard, clock } = this.#parts;
    const sentAtMs = clock.monotonicMs();
    const args = { me: this.#idOf(waiterId), ttlMs, memoryMs: MEMORY_MS };
    const held = await (client
      ? extendPermits(client, this.keysOf(name), args)
      : guard.run(() => extendPermits(connections.commands(), this.keysOf(name), args)));
    return { isHeld: held === token, sentAtMs };
  }

  async release(
    request: PermitRequest,
    _token: number,
    { isInTime }: ReleaseHow,
  ): Promise<GivenBack & { outcome: ReleaseOutcome }> {
    const sentAtMs = this.#parts.clock.monotonicMs();
    const { outcome, granted } = await this.#giveBack(request, {});
    return { outcome: outcome === 'gone' ? (isInTime ? 'stolen' : 'expired') : 'released', granted, sentAtMs };
  }

  /** Gives all but some permits back. @returns undefined when none are held any more */
  async keep(request: PermitRequest, weight: number, mode: string): Promise<GivenBack | undefined> {
    const sentAtMs = this.#parts.clock.monotonicMs();
    const { outcome, granted } = await this.#giveBack(request, { kept: weight, keptMode: mode });
    return outcome === 'kept' ? { granted, sentAtMs } : undefined;
  }

  /** Takes away what the holder of a token holds. @returns whether anybody held by it */
  async takeFrom(name: string, token: number): Promise<boolean> {
    const { connections, guard } = this.#parts;
    const me = await guard.run(() => findHolder(connections.commands(), this.keysOf(name), { token }));
    if (me === '') return false;
    const { outcome } = await this.#run(name, { me, isTaken: 1 });
    return outcome === 'released';
  }

  /** Sets how many permits there are, whatever callers declare, and grants whoever fits then. */
  async setPermits(name: string, permits: number): Promise<void> {
    const { connections, guard } = this.#parts;
    await guard.run(() => connections.commands().set(this.keysOf(name).permits, permits));
    await this.#run(name, {});
  }

  /** What callers declare counts again. */
  async unsetPermits(name: string, declared: number): Promise<void> {
    const { connections, guard } = this.#parts;
    await guard.run(() => connections.commands().del(this.keysOf(name).permits));
    await this.#run(name, { declared });
  }

  /** Who holds and who waits, the first of each. */
  inspect(name: string, declared: number, most: number = MOST_TOLD): Promise<PermitsSeen> {
    const { connections, guard } = this.#parts;
    const args = { declared, most };
    return guard.run(() => inspectPermits(connections.commands(), this.keysOf(name), args));
  }

  #acquire(request: PermitRequest, how: AcquireMode): Promise<AcquireReply> {
    const { waiting, connections, guard } = this.#parts;
    const args = {
      me: this.#idOf(request.waiterId),
      process: waiting.processId,
      weight: request.weight,
      mode: request.mode,
      ttlMs: request.ttlMs,
      how,
      declared: request.declared,
      name: request.name,
      wakePrefix: waiting.channelPrefix,
      claimMs: CLAIM_MS,
      patienceMs: PATIENCE_MS,
      memoryMs: MEMORY_MS,
    };
    return guard.run(() => acquirePermits(connections.commands(), this.keysOf(request.name), args));
  }

  #giveBack(
    { name, waiterId, declared }: LockRequest & { readonly declared?: number },
    kept: { kept?: number; keptMode?: string },
  ): Promise<GiveBackReply> {
    const args = { me: this.#idOf(waiterId), process: this.#parts.waiting.processId, ...kept };
    return this.#run(name, declared === undefined ? args : { ...args, declared });
  }

  /** Without a process, its own waiters are told by message like all others. */
  #run(name: string, given: Partial<GiveBackArgs>): Promise<GiveBackReply> {
    const { waiting, connections, guard } = this.#parts;
    const args: GiveBackArgs = {
      me: '',
      process: '',
      kept: 0,
      keptMode: '',
      isTaken: 0,
      declared: '',
      name,
      wakePrefix: waiting.channelPrefix,
      claimMs: CLAIM_MS,
      patienceMs: PATIENCE_MS,
      memoryMs: MEMORY_MS,
      ...given,
    };
    return guard.run(() => giveBackPermits(connections.commands(), this.keysOf(name), args));
  }

  #idOf(waiterId: string): string {
    return `${this.#parts.waiting.processId}|${waiterId}`;
  }
}

function leftMs(nextEndMs: number): number {
  return nextEndMs < 0 ? LOOK_AGAIN_MS : nextEndMs;
}
