/**
 * The mutex in Redis.
 *
 *   free --acquire--> held --release, none waits--> free
 *                      |--release, one of this process waits--> held by it
 *                      |--release, one of another process waits--> claimed --watch--> held by it
 *                      |--lease ends--> free, until a waiter looks        |--claim ends--> free, until a waiter looks
 *
 *   millrace:lock:{NAME}         STRING  the holder, `process|waiter|ttl ms|token`, `|claim` while claimed; lives as long as the lease
 *   millrace:lock:{NAME}:queue   LIST    the waiters, `process|waiter|ttl ms`; 60 s from the last look at it
 *   millrace:lock:{NAME}:fence   STRING  the last token; `|process` of a claim, `||ms` of a lease whose length was changed; a day
 *
 * Written by lua/lock/*.lua alone. Redis down: every call throws within the module's deadline.
 */
import type { Clock } from '../clock.ts';
import type { Connections } from '../redis/connect.ts';
import type { Guard } from '../redis/guard.ts';
import type { KeySpace } from '../redis/keys.ts';
import type { ScriptClient } from '../redis/script.ts';
import {
  KeptKeys,
  type AcquireHow,
  type GivenBack,
  type Gone,
  type Granted,
  type LocalGrant,
  type LockRequest,
  type LockScripts,
  type Queued,
  type Refused,
  type ReleaseHow,
  type ReleaseOutcome,
} from './lock-scripts.ts';
import {
  acquireScript,
  extendScript,
  giveBackScript,
  inspectScript,
  mended,
  releaseScript,
  sendHot,
  watchScript,
  type AcquireReply,
  type GiveReply,
  type MutexKeys,
  type ReleaseReply,
} from './scripts.ts';
import type { Waiting } from './waiting.ts';

/** A mutex as it stands in Redis; a lease of -2 ms when nobody holds it. */
type MutexState = Awaited<ReturnType<typeof inspectScript>>;

/** What the scripts work with. */
export interface MutexParts {
  connections: Pick<Connections, 'commands'>;
  keys: KeySpace;
  guard: Guard;
  clock: Clock;
  waiting: Pick<Waiting, 'processId' | 'channelPrefix' | 'countsReceivers'>;
}

/** What is made of the name of a mutex. */
interface KnownMutex extends MutexKeys {
  /** What release.lua is told, for a token that Redis does not remember yet, and for one that it does. */
  readonly home: string;
  readonly homeRecorded: string;
}

/** The scripts of mutexes. */
export class MutexScripts implements LockScripts {
  readonly kind = 'm';
  readonly #parts: MutexParts;
  readonly #clock: Clock;
  readonly #guard: Guard;
  readonly #process: string;
  readonly #channels: string;
  readonly #counts: number;
  readonly #keys: KeptKeys<KnownMutex>;

  constructor(parts: MutexParts) {
    this.#parts = parts;
    this.#clock = parts.clock;
    this.#guard = parts.guard;
    this.#process = parts.waiting.processId;
    this.#channels = parts.waiting.channelPrefix;
    this.#counts = parts.waiting.countsReceivers ? 1 : 0;
    const { keys } = parts;
    this.#keys = new KeptKeys((name) => {
      const home = `${this.#counts} ${this.#channels} ${name}`;
      return {
        holder: keys(name),
        queue: keys(name, 'queue'),
        fence: keys(name, 'fence'),
        home: `0 ${home}`,
        homeRecorded: `1 ${home}`,
      };
    });
  }

  async acquire(request: LockRequest, how: AcquireHow): Promise<Granted | Queued | Refused> {
    const client = this.#parts.connections.commands();
    const keys = this.#keys.of(request.name);
    const me = this.#entryOf(request);
    const ttlMs = `${request.ttlMs}`;
    const mode = wordsFor(how);
    const sentAtMs = this.#clock.monotonicMs();
    let reply: AcquireReply;
    try {
      reply = await sendHot(this.#guard, client, acquireScript, keys.holder, me, ttlMs, mode);
    } catch (error) {
      reply = await mended(error, this.#guard, client, acquireScript, keys.holder, { me, ttlMs, how: mode });
    }
    if (typeof reply === 'string') {
      return { status: 'granted', token: Number(reply), sentAtMs, isRecorded: true, holder: `${me}|${reply}` };
    }
    const [status, leftMs] = reply;
    if (status === 'queued') return { status, leftMs: leaseLeft(leftMs) };
    return { status, isFree: leftMs === NO_KEY };
  }

  async watch(request: LockRequest): Promise<Granted | Queued | Gone> {
    const args = { me: this.#entryOf(request), ...this.#homeOf(request.name) };
    const sentAtMs = this.#clock.monotonicMs();
    const [status, value] = await this.#run(watchScript, this.#keys.of(request.name), args);
    if (status === 'granted') return { status, token: Number(value), sentAtMs, isRecorded: true };
    return status === 'queued' ? { status, leftMs: leaseLeft(value) } : { status };
  }

  async cancel(request: LockRequest): Promise<GivenBack> {
    return this.#giveBack(request.name, this.#holderPrefix(request), this.#entryOf(request), this.#process);
  }

  async extend(
    request: LockRequest,
    token: number,
    ttlMs: number,
    client?: ScriptClient,
  ): Promise<{ readonly isHeld: boolean; readonly sentAtMs: number }> {
    const { holder, fence } = this.#keys.of(request.name);
    const args = { mine: `${this.#entryOf(request)}|${token}`, ttlMs };
    const sentAtMs = this.#clock.monotonicMs();
    const keys = { holder, fence };
    const isHeld = client ? await extendScript(client, keys, args) : await this.#run(extendScript, keys, args);
    return { isHeld, sentAtMs };
  }

  async release(
    request: LockRequest,
    token: number,
    how: ReleaseHow,
  ): Promise<GivenBack & { readonly outcome: ReleaseOutcome }> {
    if (!how.isInTime || how.again) {
      const back = await this.#giveBack(request.name, this.#holderPrefix(request), '', this.#process);
      // The first call, whose answer was lost, has let go.
      return how.again && how.isInTime ? { ...back, outcome: 'released' } : back;
    }
    const client = this.#parts.connections.commands();
    const keys = this.#keys.of(request.name);
    const mine = how.holder ?? `${this.#entryOf(request)}|${token}`;
    const heldUs = `${Math.max(1, Math.floor(how.heldMs * 1_000))}`;
    const home = how.isRecorded === true ? keys.homeRecorded : keys.home;
    const sentAtMs = this.#clock.monotonicMs();
    let reply: ReleaseReply;
    try {
      reply = await sendHot(this.#guard, client, releaseScript, keys.holder, mine, heldUs, home);
    } catch (error) {
      reply = await mended(error, this.#guard, client, releaseScript, keys.holder, { mine, heldUs, home });
    }
    return reply === 1 ? { outcome: 'released', granted: NOBODY, sentAtMs } : given(reply, sentAtMs);
  }

  /** Puts out whoever holds the lock, or only the holder with this token; false when nobody does. */
  async force(name: string, token?: number): Promise<boolean> {
    // Waiters of this process are told by message too, as those of any other.
    const { outcome } = await this.#giveBack(name, '', '', '', token);
    return outcome === 'released';
  }

  /** The lock as it stands, with the first waiters. */
  async inspect(name: string, shown: number): Promise<MutexState> {
    return this.#run(inspectScript, this.#keys.of(name), { shown });
  }

  /** The key that names the lock's node on a Cluster. */
  keyOf(name: string): string {
    return this.#keys.of(name).holder;
  }

  async #giveBack(
    name: string,
    mine: string,
    entry: string,
    process: string,
    only: number | '' = '',
  ): Promise<GivenBack & { readonly outcome: ReleaseOutcome }> {
    const args = { mine, entry, process, ...this.#homeOf(name), only };
    const sentAtMs = this.#clock.monotonicMs();
    const reply = await this.#run(giveBackScript, this.#keys.of(name), args);
    return given(reply, sentAtMs);
  }

  #run<K, A, T>(script: (client: ScriptClient, keys: K, args: A) => Promise<T>, keys: K, args: A): Promise<T> {
    const client = this.#parts.connections.commands();
    return this.#guard.run(() => script(client, keys, args));
  }

  #homeOf(name: string): { name: string; channels: string; counts: number } {
    return { name, channels: this.#channels, counts: this.#counts };
  }

  #holderPrefix({ waiterId }: LockRequest): string {
    return `${this.#process}|${waiterId}|`;
  }

  #entryOf(request: LockRequest): string {
    return `${this.#process}|${request.waiterId}|${request.ttlMs}`;
  }
}

const NOBODY: readonly LocalGrant[] = [];

/** How acquire.lua is told. */
function wordsFor({ mayQueue, look, again }: AcquireHow): string {
  const word = mayQueue ? (look ? 'look' : 'queue') : 'try';
  return again ? `${word} again` : word;
}

/** What PTTL says of a key that is not there. */
const NO_KEY = -2;

function leaseLeft(pttl: number | undefined): number | undefined {
  if (pttl === undefined) return undefined;
  return pttl === NO_KEY ? 0 : pttl;
}

function given([outcome, waiterId, token]: GiveReply, sentAtMs: number): GivenBack & { outcome: ReleaseOutcome } {
  const granted: LocalGrant[] = waiterId === undefined ? [] : [{ waiterId, token: Number(token) }];
  return { outcome, granted, sentAtMs };
}
