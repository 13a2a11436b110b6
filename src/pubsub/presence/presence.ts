/**
 * Presence: who is here, over all processes.
 *
 * Promise: a user enters a room once, with the first connection, and leaves it once, with the last: told to each process that hears the room,
 * exactly once and in one order. The connections of a process that died are gone within `ttl` and `sweep`. A user who is back within
 * `debounce` was never gone. Leases are reckoned by the clock of the server alone. Key-space notifications are not needed.
 * Keys: see store.ts and where.ts; all of them expire by themselves when everybody is gone.
 * Redis down: calls reject within `deadline`; what was entered is entered again when Redis is back, if it lost it.
 */
import { randomBytes } from 'node:crypto';
import { systemClock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import { silentLogger } from '../../log.ts';
import { publishVerb } from '../../redis/broadcast.ts';
import type { Connections } from '../../redis/connect.ts';
import { Guard } from '../../redis/guard.ts';
import { DEFAULT_PREFIX } from '../../redis/keys.ts';
import { Heart } from './heart.ts';
import { RunningMembership, type Membership, type MembershipParts } from './membership.ts';
import {
  checkEnter,
  checkLimit,
  checkPresence,
  checkRoom,
  checkUser,
  commonRule,
  type EnterRequest,
  type PresenceOptions,
  type PresenceState,
  type RoomOptions,
  type RoomRule,
} from './options.ts';
import { PresenceMeter, type PresenceStats } from './presence-metrics.ts';
import { RoomView, type ViewParts } from './room-view.ts';
import { Room, type RoomParts } from './room.ts';
import { memberOf, Store } from './store.ts';
import { Syncs } from './syncs.ts';
import { MOST_ROOMS, WhereIndex, type Whereabouts } from './where.ts';

/** The connections that presence uses. */
export type PresenceConnections = Pick<Connections, 'commands' | 'subscriber' | 'topology' | 'label'>;

const DEFAULT_DEADLINE_MS = 2_000;
const DEFAULT_SWEEP_MS = 1_000;
const DEFAULT_LIMIT = 100;

/**
 * The presence of one process.
 *
 * @example
 * const presence = createPresence(connections, { log });
 * const room = presence.room('doc:7');
 * room.on('enter', ({ userId }) => console.log(userId, 'is here'));
 * const me = await room.enter({ userId: 'ada', state: { cursor: 0 } });
 * await me.update({ cursor: 12 });
 * await presence.stop();
 * @throws MillraceError OPTIONS_INVALID
 */
export function createPresence(connections: PresenceConnections, options: PresenceOptions = {}): Presence {
  return new Presence(connections, options);
}

/** Rooms, and the connections that this process has in them. */
export class Presence {
  readonly #common: RoomRule;
  readonly #where: WhereIndex;
  readonly #heart: Heart;
  readonly #syncs: Syncs;
  readonly #guard: Guard;
  readonly #meter: PresenceMeter;
  readonly #viewParts: ViewParts;
  readonly #membershipParts: MembershipParts;
  readonly #roomParts: RoomParts;
  readonly #views = new Map<string, RoomView>();
  readonly #memberships = new Set<RunningMembership>();
  /** Ids of this process begin so. */
  readonly #process = randomBytes(9).toString('base64url');
  #count = 0;
  #stopping: Promise<void> | undefined;

  /** @throws MillraceError OPTIONS_INVALID */
  constructor(connections: PresenceConnections, options: PresenceOptions) {
    const checked = checkPresence(options);
    const { prefix = DEFAULT_PREFIX, clock = systemClock, log = silentLogger } = checked;
    const sweepMs = checked.sweep ?? DEFAULT_SWEEP_MS;
    const deadlineMs = checked.deadline ?? DEFAULT_DEADLINE_MS;
    const { label } = connections;
    const meter = new PresenceMeter(checked.metrics);
    const guard = new Guard({ deadlineMs, failures: Number.POSITIVE_INFINITY, clock, label });
    const store = new Store({ connections, prefix, guard, publish: publishVerb(connections), sweepMs });
    const where = new WhereIndex({ connections, prefix, guard, store });
    const heart = new Heart({ store, where, clock, log, meter, sweepMs });
    const syncs = new Syncs(store, log);
    this.#common = commonRule(checked);
    this.#where = where;
    this.#heart = heart;
    this.#syncs = syncs;
    this.#guard = guard;
    this.#meter = meter;
    this.#viewParts = { connections, store, heart, syncs, log, meter };
    const onEnd = (membership: RunningMembership): void => void this.#memberships.delete(membership);
    this.#membershipParts = { store, heart, where, clock, log, meter, onEnd };
    this.#roomParts = {
      store,
      log,
      enter: (room, rule, request) => this.#enter(room, rule, request),
      openView: (room, rule) => this.#openView(room, rule),
      closeView: (view) => this.#closeView(view),
    };
  }

  /**
   * A room; it need not be there, and asks nothing of Redis until it is used.
   *
   * @example
   * const room = presence.room('doc:7', { ttl: '30s', debounce: '3s', schema: z.object({ cursor: z.number() }) });
   * @throws MillraceError OPTIONS_INVALID
   */
  room<State extends object = PresenceState>(name: string, options: RoomOptions<State> = {}): Room<State> {
    return new Room<State>(name, checkRoom(name, options, this.#common), this.#roomParts);
  }

  /**
   * In which rooms the user is now.
   *
   * @example
   * const { rooms } = await presence.whereIs('ada'); // ['doc:7']
   * @param limit How many to name. Default 100; up to 1,000, which is how many are known of a user.
   * @throws MillraceError OPTIONS_INVALID; REDIS_* when Redis does not answer
   */
  async whereIs(userId: string, { limit = DEFAULT_LIMIT }: { limit?: number | undefined } = {}): Promise<Whereabouts> {
    return this.#where.find(checkUser(userId), checkLimit(limit, MOST_ROOMS));
  }

  /**
   * What this process has, and how it fares.
   *
   * @example
   * const { connections, lastBeatMs } = presence.stats();
   */
  stats(): PresenceStats {
    const { connections, watched, beats, failedBeats, lastBeatMs, lapsed, resyncs, refusedMessages } = this.#meter;
    const { rooms } = this.#heart;
    return { connections, rooms, watched, beats, failedBeats, lastBeatMs, lapsed, resyncs, refusedMessages };
  }

  /**
   * Leaves all rooms, as leave() does, and hears no more. Twice is fine.
   *
   * @example
   * await presence.stop();
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#heart.stop();
    this.#syncs.stop();
    for (const view of this.#views.values()) view.close();
    this.#views.clear();
    await Promise.all([...this.#memberships].map((membership) => membership.leave()));
    this.#guard.close();
  }

  async #enter(room: string, rule: RoomRule, request: EnterRequest): Promise<Membership> {
    this.#checkOpen();
    const { userId, connectionId: given, state } = checkEnter(room, request);
    const owner = `${this.#process}-${(this.#count++).toString(36)}`;
    const connectionId = given ?? owner;
    const place = { room, member: memberOf(connectionId, userId), owner, ttlMs: rule.ttlMs };
    const membership = new RunningMembership(place, { userId, connectionId }, rule, this.#membershipParts);
    this.#memberships.add(membership);
    try {
      await membership.enter(state);
      this.#checkOpen();
    } catch (error) {
      this.#memberships.delete(membership);
      throw error;
    }
    return membership;
  }

  #openView(room: string, rule: RoomRule): RoomView {
    this.#checkOpen();
    let view = this.#views.get(room);
    if (!view) {
      view = new RoomView(room, rule.ttlMs, this.#viewParts);
      this.#views.set(room, view);
    }
    return view;
  }

  #closeView(view: RoomView): void {
    view.close();
    if (this.#views.get(view.room) === view) this.#views.delete(view.room);
  }

  #checkOpen(): void {
    if (this.#stopping) throw new MillraceError('CLOSED', 'presence has been stopped', {});
  }
}
