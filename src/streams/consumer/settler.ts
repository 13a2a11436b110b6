/**
 * Tells Redis what became of the entries of one consumer, many in one call, and never lets their handlers wait for it.
 *
 *   told --a few ms later, or when they are many--> sent --answered--> settled
 *                                                     '--no answer--> in doubt --resolve()--> sent again
 *
 * Promise: an entry counts as unsettled until Redis has answered, so whoever looks for entries that got lost knows these. Every call may
 * be sent again: the scripts look whose the entry is. What is in doubt is sent again before anything else is taken, because a
 * retry that is due at once could otherwise be this consumer's own entry again. What Redis refuses is sent again later, and holds up nothing.
 */
import type { MillraceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { explainRedisError } from '../../redis/explain.ts';
import { isOutage } from '../../redis/guard.ts';
import { clientLabel } from '../../redis/script.ts';
import type { ConsumerMeter } from './consumer-metrics.ts';
import { acknowledge, bury, noteAttempts, putBack, type Group } from './scripts.ts';

/** Acknowledgements of a call. */
const MOST_ACKS = 500;
/** Others of a call; each carries more. */
const MOST_OTHERS = 100;
const MOST_LETTERS = 20;
/** How long an acknowledgement waits for others. */
const FLUSH_AFTER_MS = 4;

/** What is told of some entries. */
export interface Call {
  readonly ids: readonly string[];
  /** Whether it only says that they are done. */
  readonly isAck: boolean;
  /** Whether it was logged that Redis refuses it. */
  isRefused: boolean;
  send(): Promise<void>;
}

export interface SettlerParts {
  readonly group: Group;
  /** Whose entries they are. */
  readonly consumer: string;
  readonly meter: ConsumerMeter;
  readonly log: Logger;
  /** Something is in doubt. */
  readonly onDoubt: () => void;
  /** Something is settled, so that there may be room. */
  readonly onSettled: () => void;
  /** An entry that was put back is due in so many ms. */
  readonly onDue: (inMs: number) => void;
}

/** What was settled of the entries of one consumer. */
export class Settler {
  readonly #parts: SettlerParts;
  #acks: string[] = [];
  /** Of entries that something was noted of. */
  #tried: string[] = [];
  /** Of entries that nobody has worked on. */
  #forgotten: string[] = [];
  #backs: Array<readonly [id: string, delayMs: number, record: string]> = [];
  #letters: Array<ReadonlyArray<string | number>> = [];
  readonly #underWay = new Set<Call>();
  readonly #doubtful = new Set<Call>();
  #resolving: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #unsettled = 0;
  #onSettled: (() => void) | undefined;

  constructor(parts: SettlerParts) {
    this.#parts = parts;
  }

  /** Entries of which Redis does not know yet what became of them. */
  get unsettled(): number {
    return this.#unsettled;
  }

  get isInDoubt(): boolean {
    return this.#doubtful.size > 0;
  }

  acknowledge(id: string): void {
    this.#unsettled++;
    this.#acks.push(id);
    if (this.#acks.length >= MOST_ACKS) this.#sendAcks();
    else this.#timer ??= setTimeout(() => this.flush(), FLUSH_AFTER_MS);
  }

  /** The same for an entry that something was noted of, which is then forgotten. */
  acknowledgeTried(id: string): void {
    this.#told();
    this.#tried.push(id);
    if (this.#tried.length >= MOST_ACKS) this.#sendTried();
  }

  /** Acknowledges an entry that is not worked on, and forgets what was noted of it. It does not count as done. */
  forget(id: string): void {
    this.#told();
    this.#forgotten.push(id);
    if (this.#forgotten.length >= MOST_ACKS) this.#sendForgotten();
  }

  /** @param record what is noted of its attempts; empty to leave it as it is. */
  putBack(id: string, delayMs: number, record: string): void {
    this.#told();
    this.#backs.push([id, delayMs, record]);
    if (this.#backs.length >= MOST_OTHERS) this.#sendBacks();
  }

  /** Makes the entry a dead letter: what letterOf() gives. */
  bury(letter: ReadonlyArray<string | number>): void {
    this.#told();
    this.#letters.push(letter);
    if (this.#letters.length >= MOST_LETTERS) this.#sendLetters();
  }

  /** Notes something of entries that stay this consumer's. Gives of each whether it still is. */
  async note(items: ReadonlyArray<readonly [id: string, record: string]>): Promise<boolean[]> {
    const { group, consumer } = this.#parts;
    return noteAttempts(group.redis, group.keys, { group: group.name, consumer, items: items.flat() });
  }

  /** Sends what waits. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#acks.length > 0) this.#sendAcks();
    if (this.#tried.length > 0) this.#sendTried();
    if (this.#forgotten.length > 0) this.#sendForgotten();
    if (this.#backs.length > 0) this.#sendBacks();
    if (this.#letters.length > 0) this.#sendLetters();
  }

  /** Sends again what is in doubt. @throws MillraceError when there is no answer again, or the server takes no writes */
  resolve(): Promise<void> {
    return (this.#resolving ??= this.#resolveAll().finally(() => (this.#resolving = undefined)));
  }

  /** Gives away the acknowledgements that are in doubt. They may be sent by another membership: Redis does not ask whose the entries are. */
  handOver(): Call[] {
    const calls = [...this.#doubtful].filter(({ isAck }) => isAck);
    for (const call of calls) {
      this.#doubtful.delete(call);
      this.#settled(call);
    }
    return calls;
  }

  /** Takes what another membership has handed over. */
  adopt(calls: readonly Call[]): void {
    for (const call of calls) {
      this.#doubtful.add(call);
      this.#unsettled += call.ids.length;
    }
    if (calls.length > 0) this.#parts.onDoubt();
  }

  /** Adds the ids of all that is unsettled. */
  addIds(ids: Set<string>): void {
    for (const id of this.#acks) ids.add(id);
    for (const id of this.#tried) ids.add(id);
    for (const id of this.#forgotten) ids.add(id);
    for (const [id] of this.#backs) ids.add(id);
    for (const [id] of this.#letters) ids.add(String(id));
    for (const call of [...this.#underWay, ...this.#doubtful]) for (const id of call.ids) ids.add(id);
  }

  /** Adds the ids of what Redis must still know as pending for it to be settled. */
  addUnfinished(ids: Set<string>): void {
    for (const [id] of this.#backs) ids.add(id);
    for (const [id] of this.#letters) ids.add(String(id));
    for (const call of [...this.#underWay, ...this.#doubtful]) if (!call.isAck) for (const id of call.ids) ids.add(id);
  }

  /** Sends what waits, and resolves once all is settled; keeps trying until the signal aborts. */
  async settle(signal: AbortSignal, pause: (ms: number) => Promise<void>): Promise<void> {
    this.flush();
    while (this.#unsettled > 0 && !signal.aborted) {
      const settled = new Promise<void>((resolve) => (this.#onSettled = resolve));
      if (this.isInDoubt) {
        await this.resolve().catch(() => undefined);
        if (this.isInDoubt) await pause(50); // Redis may be back before the time is over.
      } else await Promise.race([settled, pause(20)]);
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #told(): void {
    this.#unsettled++;
    this.#timer ??= setTimeout(() => this.flush(), FLUSH_AFTER_MS);
  }

  #sendAcks(): void {
    const ids = this.#acks;
    this.#acks = [];
    const { group, meter } = this.#parts;
    this.#send(ids, true, async () => {
      await group.redis.xack(group.keys.entries, group.name, ...ids);
      meter.count('done', ids.length);
    });
  }

  #sendTried(): void {
    const ids = this.#tried;
    this.#tried = [];
    const { group, meter } = this.#parts;
    this.#send(ids, true, async () => {
      await acknowledge(group.redis, group.keys, { group: group.name, ids });
      meter.count('done', ids.length);
    });
  }

  #sendForgotten(): void {
    const ids = this.#forgotten;
    this.#forgotten = [];
    const { group } = this.#parts;
    this.#send(ids, true, async () => {
      await acknowledge(group.redis, group.keys, { group: group.name, ids });
    });
  }

  #sendBacks(): void {
    const backs = this.#backs;
    this.#backs = [];
    void this.#try(this.#backsCall(backs, false));
  }

  #backsCall(backs: ReadonlyArray<readonly [id: string, delayMs: number, record: string]>, isAgain: boolean): Call {
    const { group, consumer, meter, log, onDue } = this.#parts;
    const ids = backs.map(([id]) => id);
    let isFirst = true;
    const send = async (): Promise<void> => {
      const wasFirst = isFirst;
      isFirst = false;
      const outcomes = await putBack(group.redis, group.keys, { group: group.name, consumer, items: backs.flat() });
      // Not before: who looks for it while it is not there yet would not look again.
      onDue(Math.min(...backs.map(([, delayMs]) => delayMs)));
      const gone = backs.filter((_back, at) => outcomes[at] === 'gone');
      if (gone.length > 0 && wasFirst) this.#gone(this.#backsCall(gone, true), isAgain);
      const vanished = ids.filter((_id, at) => outcomes[at] === 'vanished');
      if (vanished.length === 0) return;
      meter.count('vanished', vanished.length);
      log.error(
        { entries: vanished.slice(0, 20) },
        'entries that failed were deleted from their stream before they were done',
      );
    };
    return { ids, isAck: false, isRefused: false, send };
  }

  #sendLetters(): void {
    const letters = this.#letters;
    this.#letters = [];
    void this.#try(this.#lettersCall(letters, false));
  }

  #lettersCall(letters: ReadonlyArray<ReadonlyArray<string | number>>, isAgain: boolean): Call {
    const { group, consumer, meter } = this.#parts;
    let isFirst = true;
    const send = async (): Promise<void> => {
      const wasFirst = isFirst;
      isFirst = false;
      const outcomes = await bury(group.redis, group.keys, { group: group.name, consumer, items: letters.flat() });
      meter.count('dead', outcomes.filter((outcome) => outcome === 'dead').length);
      const gone = letters.filter((_letter, at) => outcomes[at] === 'gone');
      if (gone.length > 0 && wasFirst) this.#gone(this.#lettersCall(gone, true), isAgain);
    };
    return { ids: letters.map(([id]) => String(id)), isAck: false, isRefused: false, send };
  }

  /**
   * Entries that failed are pending for nobody. Of one that was sent before, its own first sending may be why. Else the group may have been
   * made again: it is sent once more, after the look that adds to it what this consumer has.
   */
  #gone(call: Call, isAgain: boolean): void {
    if (!isAgain) return this.adopt([call]);
    const { log, group } = this.#parts;
    log.error(
      { stream: group.stream, group: group.name, entries: call.ids.slice(0, 20) },
      'entries that failed were pending for nobody: somebody else has acknowledged them; they are not tried again',
    );
  }

  #send(ids: readonly string[], isAck: boolean, send: () => Promise<void>): void {
    void this.#try({ ids, isAck, isRefused: false, send });
  }

  async #try(call: Call): Promise<void> {
    this.#underWay.add(call);
    try {
      await this.#sent(call);
      this.#underWay.delete(call);
      this.#settled(call);
    } catch (error) {
      this.#underWay.delete(call);
      if (!this.isInDoubt) this.#parts.log.debug({ err: error }, 'not known to be settled; sent again');
      this.#doubtful.add(call);
      this.#onSettled?.();
      this.#parts.onDoubt();
    }
  }

  async #resolveAll(): Promise<void> {
    let refusal: MillraceError | undefined;
    for (const call of this.#doubtful) {
      try {
        await this.#sent(call);
        // It may have been handed over meanwhile.
        if (this.#doubtful.delete(call)) this.#settled(call);
      } catch (error) {
        const failure = error as MillraceError;
        if (failure.code === 'REDIS_WRITES_REFUSED') refusal = failure;
        else if (isOutage(failure)) throw failure;
        else this.#tellRefused(call, failure);
      }
    }
    if (refusal) throw refusal;
  }

  #tellRefused(call: Call, failure: MillraceError): void {
    if (call.isRefused) return;
    call.isRefused = true;
    this.#parts.log.error(
      { err: failure, entries: call.ids.slice(0, 20) },
      'Redis refuses to be told what became of entries; it is told again later',
    );
  }

  async #sent(call: Call): Promise<void> {
    try {
      await call.send();
    } catch (error) {
      throw explainRedisError(error, clientLabel(this.#parts.group.redis));
    }
  }

  #settled({ ids }: Call): void {
    this.#unsettled -= ids.length;
    if (this.#unsettled === 0) this.#onSettled?.();
    this.#parts.onSettled();
  }
}
