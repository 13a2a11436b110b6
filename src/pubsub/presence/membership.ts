/**
 * One connection of a user in one room, as its process keeps it.
 *
 *   here --leave()--> left
 *    |--another process enters with the connection--> replaced
 *    |--found out: the lease ran out, or Redis lost its data--> enters again, and stays `here`
 *
 * Promise: from enter() to leave() the user is in the room, but for the time in which this process stands still or is cut off for longer than
 * a lease; then it enters again by itself, with the state that it has, or as soon as the room has a place again. Updates are written at most
 * every `updateEvery`, merged.
 * Redis down: enter() and update() reject; leave() gives `unknown`, and the lease runs out by itself.
 */
import type { Clock } from '../../clock.ts';
import { describeValue, isMillraceError, MillraceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { encodePayload } from '../../payload.ts';
import { inputFaults } from '../../schema.ts';
import type { Heart, Kept } from './heart.ts';
import { readState } from './messages.ts';
import { checkLeave, type LeaveOptions, type PresenceState, type RoomRule } from './options.ts';
import type { PresenceMeter } from './presence-metrics.ts';
import type { Place, Store } from './store.ts';
import type { WhereIndex } from './where.ts';

/**
 * How a leave ended. `left`: the others are told. `away`: they will be, unless the user comes back within the debounce. `gone`: it was not there
 * any more. `unknown`: Redis did not answer, and the lease runs out by itself.
 */
export type LeaveResult = 'left' | 'away' | 'gone' | 'unknown';

/** A connection in a room, for whoever entered with it. */
export interface Membership<State extends object = PresenceState> {
  readonly room: string;
  readonly userId: string;
  readonly connectionId: string;
  /** What it shows, as it was last given. */
  readonly state: State;
  /** `replaced`: another process, or a later enter() of this one, has the connection now. */
  readonly status: 'here' | 'left' | 'replaced';
  /**
   * Changes some fields of what it shows; a field that is undefined goes. Resolves once it is written, with what came shortly after it. One
   * that leave() overtakes is not written, and rejects.
   *
   * @throws MillraceError INPUT_INVALID, PAYLOAD_TOO_LARGE; CLOSED after leave(); LEASE_LOST when it was replaced; ROOM_FULL when it was out, and the
   *   room takes no more; REDIS_* when Redis does not answer
   */
  update(patch: { readonly [Field in keyof State]?: State[Field] | undefined }): Promise<void>;
  /** Goes out of the room. Never rejects for Redis; twice is fine. @throws MillraceError OPTIONS_INVALID */
  leave(options?: LeaveOptions): Promise<LeaveResult>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** What a membership needs. */
export interface MembershipParts {
  store: Store;
  heart: Heart;
  where: WhereIndex;
  clock: Clock;
  log: Logger;
  meter: PresenceMeter;
  /** It is neither kept nor to be left any more. */
  onEnd: (membership: RunningMembership) => void;
}

/** A connection in a room. */
export class RunningMembership implements Membership, Kept {
  readonly place: Place;
  readonly userId: string;
  readonly connectionId: string;
  readonly noteMs: number;
  notedAtMs = Number.NEGATIVE_INFINITY;
  readonly #rule: RoomRule;
  readonly #parts: MembershipParts;
  readonly #ended = new AbortController();
  #status: Membership['status'] = 'here';
  #json = '{}';
  #state: PresenceState = {};
  /** The updates' turns: a schema may take its time. */
  #turn: Promise<unknown> = Promise.resolve();
  /** The write that takes what comes now. */
  #waiting: Promise<void> | undefined;
  #sending: Promise<void> = Promise.resolve();
  #sentAtMs = Number.NEGATIVE_INFINITY;
  #reentering: Promise<void> | undefined;
  #leaving: Promise<LeaveResult> | undefined;
  /** It was told that it is out, and finds no place. */
  #isShutOut = false;

  constructor(place: Place, ids: { userId: string; connectionId: string }, rule: RoomRule, parts: MembershipParts) {
    this.place = place;
    this.userId = ids.userId;
    this.connectionId = ids.connectionId;
    this.noteMs = parts.where.keepMs(rule.ttlMs, rule.debounceMs);
    this.#rule = rule;
    this.#parts = parts;
  }

  get room(): string {
    return this.place.room;
  }

  get state(): PresenceState {
    return this.#state;
  }

  get status(): Membership['status'] {
    return this.#status;
  }

  /** Enters; a state that is undefined keeps what a come-back had. */
  async enter(state: unknown): Promise<void> {
    if (state !== undefined) this.#show(await this.#encode(state));
    try {
      await this.#enter(state === undefined ? '' : this.#json);
    } catch (error) {
      this.#status = 'left';
      if (isMillraceError(error, 'ROOM_FULL')) this.#end();
      else this.#leaveQuietly(); // It may have come in after all, by a call whose answer was lost or too late.
      throw error;
    }
    if (this.#status === 'here') this.#parts.heart.keep(this);
    else this.#leaveQuietly(); // Stopped meanwhile.
  }

  async update(patch: Readonly<PresenceState>): Promise<void> {
    this.#checkHere();
    const merged = this.#turn.then(() => this.#merge(patch));
    this.#turn = merged.catch(() => undefined);
    await merged;
    this.#waiting ??= this.#write();
    await this.#waiting;
  }

  leave(options: LeaveOptions = {}): Promise<LeaveResult> {
    const debounceMs = checkLeave(this.room, options, this.#rule.debounceMs);
    this.#leaving ??= this.#leave(debounceMs);
    return this.#leaving;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.leave();
  }

  onOut(): void {
    this.#reenter().catch((error: unknown) => {
      const isNews = isMillraceError(error, 'ROOM_FULL') && !this.#isShutOut;
      this.#isShutOut ||= isNews;
      this.#parts.log[isNews ? 'warn' : 'debug'](
        { err: error, room: this.room },
        'not entered again; tried with the next beat',
      );
    });
  }

  onReplaced(): void {
    if (this.#status !== 'here') return;
    this.#status = 'replaced';
    this.#end();
    this.#parts.log.debug({ room: this.room, connection: this.connectionId }, 'another process has the connection now');
  }

  async #merge(patch: unknown): Promise<void> {
    this.#checkHere();
    if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) throw this.#notObject(patch);
    this.#show(await this.#encode({ ...this.#state, ...patch }));
  }

  /** Writes what there is when its time has come; what comes until then goes with it. */
  async #write(): Promise<void> {
    const { clock } = this.#parts;
    const waitMs = this.#sentAtMs + this.#rule.updateEveryMs - clock.monotonicMs();
    if (waitMs > 0) {
      const wait = clock.sleep(waitMs, { signal: this.#ended.signal });
      await wait.catch(() => undefined); // It has left, or was replaced.
    }
    await this.#sending;
    this.#waiting = undefined;
    this.#checkHere();
    this.#sentAtMs = clock.monotonicMs();
    const sending = this.#send(this.#json);
    this.#sending = sending.catch(() => undefined);
    await sending;
  }

  async #send(json: string): Promise<void> {
    const outcome = await this.#parts.store.update(this.place, json);
    if (outcome === 'updated' || outcome === 'same') return;
    if (outcome === 'replaced') this.onReplaced();
    this.#checkHere();
    await this.#reenter();
  }

  #reenter(): Promise<void> {
    if (this.#status !== 'here') return Promise.resolve();
    this.#reentering ??= this.#enterAgain().finally(() => (this.#reentering = undefined));
    return this.#reentering;
  }

  async #enterAgain(): Promise<void> {
    this.#parts.meter.transition('lapsed');
    await this.#enter(this.#json);
    if (this.#status !== 'here') this.#leaveQuietly();
  }

  async #enter(json: string): Promise<void> {
    const { store, meter } = this.#parts;
    const noting = this.#note(this.noteMs);
    const { outcome, state } = await store.enter(this.place, json, this.#rule.maxMembers);
    if (outcome !== 'here') meter.transition(outcome);
    if (outcome === 'full') throw this.#full();
    if (json === '') this.#show(state);
    this.#isShutOut = false;
    await noting;
  }

  /** Best effort: what is kept is noted again with the next beat. */
  async #note(noteMs: number): Promise<void> {
    const { where, clock, log } = this.#parts;
    const sinceMs = clock.monotonicMs();
    try {
      await where.noteNow(this.userId, this.room, noteMs);
      this.notedAtMs = sinceMs;
    } catch (error) {
      log.debug({ err: error, room: this.room }, 'not noted where the user is');
    }
  }

  async #leave(debounceMs: number): Promise<LeaveResult> {
    if (this.#status !== 'here') return 'gone';
    this.#status = 'left';
    this.#end();
    // Whoever is away for longer than the room says would outlive the note, which no beat renews any more.
    const { ttlMs, debounceMs: usualMs } = this.#rule;
    const noting = debounceMs > usualMs ? this.#note(this.#parts.where.keepMs(ttlMs, debounceMs)) : undefined;
    try {
      const outcome = await this.#parts.store.leave(this.place, debounceMs);
      this.#parts.meter.transition(outcome);
      await noting;
      return outcome;
    } catch (error) {
      this.#parts.log.debug({ err: error, room: this.room }, 'a leave was not answered; the lease runs out by itself');
      return 'unknown';
    }
  }

  #leaveQuietly(): void {
    this.#end();
    this.#parts.store.leave(this.place, 0).catch((error: unknown) => {
      this.#parts.log.debug({ err: error, room: this.room }, 'not taken back; the lease runs out by itself');
    });
  }

  #end(): void {
    this.#ended.abort();
    this.#parts.heart.letGo(this);
    this.#parts.onEnd(this);
  }

  #show(json: string): void {
    this.#json = json;
    this.#state = Object.freeze(readState(json));
  }

  async #encode(state: unknown): Promise<string> {
    const { schema, maxStateBytes: maxBytes } = this.#rule;
    const what = this.#what();
    if (typeof state !== 'object' || state === null || Array.isArray(state)) throw this.#notObject(state);
    const json = await encodePayload(state, { schema, contract: this.room, what, maxBytes });
    if (!json.startsWith('{')) throw this.#notObject(state); // A toJSON() of its own.
    return json;
  }

  #full(): MillraceError {
    const { room, userId, connectionId } = this;
    const { maxMembers } = this.#rule;
    const message = `room ${room} takes ${maxMembers} members at most; ${userId} did not come in`;
    return new MillraceError('ROOM_FULL', message, { room, userId, connectionId, maxMembers });
  }

  #what(): string {
    return `the state of ${this.userId} in room ${this.room}`;
  }

  #notObject(got: unknown): MillraceError {
    return inputFaults(this.#what(), [{ message: `expected an object, got ${describeValue(got)}`, path: [] }]);
  }

  #checkHere(): void {
    if (this.#status === 'here') return;
    const facts = { room: this.room, userId: this.userId, connectionId: this.connectionId };
    const who = `${this.userId} in room ${this.room}`;
    if (this.#status === 'left') throw new MillraceError('CLOSED', `${who}: the connection has left`, facts);
    throw new MillraceError('LEASE_LOST', `${who}: another process has the connection now`, facts);
  }
}
