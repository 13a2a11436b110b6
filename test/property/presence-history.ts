/** A history of one room, run on a real server and on a model beside it; what a property test is made of. */
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { expect } from 'vitest';
import { RoomMembers, type PresenceChange } from '../../src/pubsub/presence/members.ts';
import { readMessage } from '../../src/pubsub/presence/messages.ts';
import { beatRoom, enterRoom, leaveRoom, takeSnapshot, updateState } from '../../src/pubsub/presence/scripts.ts';
import { idsOf } from '../../src/pubsub/presence/store.ts';
import { eventually } from '../support/eventually.ts';

/** What may happen. */
export type Act =
  | { act: 'enter'; process: number; user: number; connection: number; state: number }
  | { act: 'update'; pick: number; state: number }
  | { act: 'leave'; pick: number; isDebounced: boolean }
  | { act: 'again'; pick: number }
  | { act: 'crash' | 'beat'; process: number }
  | { act: 'lapse'; lookers: number }
  | { act: 'lose-data' }
  | { act: 'miss'; count: number };

/** A connection, as the model has it. One that is `away` has left within the debounce; of one that is `dead`, the process is. */
interface Connection {
  owner: string;
  process: number;
  state: string;
  status: 'here' | 'away' | 'dead';
}

/** How many processes take part. */
export const PROCESSES = 3;
/** Fewer than there are connections to choose from. */
const MOST = 5;
const HOW = { publish: 'PUBLISH', keepMs: 600_000, ttlMs: 300_000, most: MOST };
const stateOf = (number: number): string => (number === 0 ? '' : `{"x":${number}}`);

/** One history in one room. */
export class History {
  readonly #redis: Redis;
  readonly #listener: Redis;
  readonly #room = `{${randomUUID()}}`;
  readonly #keys = {
    leases: `${this.#room}:leases`,
    states: `${this.#room}:states`,
    owners: `${this.#room}:owners`,
    users: `${this.#room}:users`,
    clock: `${this.#room}:clock`,
  };
  readonly #model = new Map<string, Connection>();
  readonly #view = new RoomMembers();
  /** What was told of each user: enters and leaves. */
  readonly #told = new Map<string, string[]>();
  #owners = 0;
  #toMiss = 0;
  #toldBefore = 0;
  #heard: string[] = [];
  readonly #onMessage = (channel: string, text: string): void => {
    if (channel === this.#room) this.#heard.push(text);
  };

  constructor(redis: Redis, listener: Redis) {
    this.#redis = redis;
    this.#listener = listener;
  }

  async open(): Promise<void> {
    this.#listener.on('message', this.#onMessage);
    await this.#listener.subscribe(this.#room);
  }

  async close(): Promise<void> {
    this.#listener.off('message', this.#onMessage);
    await this.#listener.unsubscribe(this.#room);
    await this.#redis.del(...Object.values(this.#keys));
  }

  async run(act: Act): Promise<void> {
    const before = this.#users();
    await this.#do(act);
    const hasMissed = await this.#hear();
    const after = this.#users();
    await this.#check();
    // Each user's enters and leaves take turns, and end as the model does.
    for (const user of new Set([...before, ...after, ...this.#told.keys()])) {
      const turns = (this.#told.get(user) ?? []).join(' ');
      mustMatch(turns, after.has(user) ? /^enter( leave enter)*$/ : /^(enter leave ?)*$/);
    }
    if (hasMissed || act.act === 'lose-data') return;
    const told = [...this.#told.values()].reduce((sum, turns) => sum + turns.length, 0);
    const changed =
      [...before].filter((user) => !after.has(user)).length + [...after].filter((user) => !before.has(user)).length;
    mustBe(told - this.#toldBefore, changed, 'no more and no less was told than has changed');
  }

  async #do(act: Act): Promise<void> {
    const { states, owners, clock } = this.#keys;
    const how = { ...HOW, channel: this.#room };
    this.#toldBefore = [...this.#told.values()].reduce((sum, turns) => sum + turns.length, 0);
    switch (act.act) {
      case 'enter': {
        const member = `c${act.connection} user-${act.user}`;
        const owner = `p${act.process}-${this.#owners++}`;
        const reply = await enterRoom(this.#redis, this.#keys, { ...how, member, owner, state: stateOf(act.state) });
        mustBe(reply, this.#entered(member, owner, act.process, stateOf(act.state)));
        break;
      }
      case 'again': {
        const [member, connection] = this.#pick(act.pick);
        if (!connection || connection.status === 'away') break;
        const { owner, state } = connection;
        const reply = await enterRoom(this.#redis, this.#keys, { ...how, member, owner, state: '{"late":true}' });
        mustBe(reply, { outcome: 'here', state });
        break;
      }
      case 'update': {
        const [member, connection] = this.#pick(act.pick);
        if (!connection) break;
        const state = stateOf(act.state + 1);
        const reply = await updateState(
          this.#redis,
          { states, owners, clock },
          { ...how, member, owner: connection.owner, state },
        );
        mustBe(reply, connection.status === 'away' ? 'out' : connection.state === state ? 'same' : 'updated');
        if (reply === 'updated') connection.state = state;
        break;
      }
      case 'leave': {
        const [member, connection] = this.#pick(act.pick);
        if (!connection) break;
        const debounceMs = act.isDebounced ? 300_000 : 0;
        const reply = await leaveRoom(this.#redis, this.#keys, { ...how, member, owner: connection.owner, debounceMs });
        mustBe(reply, this.#left(member, connection, act.isDebounced));
        break;
      }
      case 'crash':
        for (const connection of this.#model.values())
          if (connection.process === act.process && connection.status === 'here') connection.status = 'dead';
        break;
      case 'beat':
        await this.#beat(act.process);
        break;
      case 'lapse':
        await this.#lapse(act.lookers);
        break;
      case 'lose-data': {
        await this.#redis.del(...Object.values(this.#keys));
        for (const [member, { status }] of this.#model) if (status !== 'here') this.#model.delete(member);
        // Whoever lives finds itself out, and enters again with what it has.
        for (const [member, { owner, state }] of this.#model) {
          const { out } = await beatRoom(this.#redis, this.#keys, { ...how, beats: [member, owner] });
          mustBe(out, [0]);
          await enterRoom(this.#redis, this.#keys, { ...how, member, owner, state });
        }
        break;
      }
      case 'miss':
        this.#toMiss += act.count;
        break;
    }
  }

  #entered(member: string, owner: string, process: number, given: string): { outcome: string; state: string } {
    const known = this.#model.get(member);
    const ofUser = [...this.#model].filter(([other]) => idsOf(other).userId === idsOf(member).userId);
    const away = ofUser.find(([, { status }]) => status === 'away');
    if (!away && !known && this.#model.size >= MOST) return { outcome: 'full', state: '' };
    const state = given === '' ? (known?.state ?? away?.[1].state ?? '{}') : given;
    const outcome = away ? 'returned' : known ? 'taken-over' : ofUser.length > 0 ? 'joined' : 'entered';
    if (away) this.#model.delete(away[0]);
    this.#model.set(member, { owner, process, state, status: 'here' });
    return { outcome, state };
  }

  #left(member: string, connection: Connection, isDebounced: boolean): string {
    if (connection.status === 'away') return 'gone';
    const { userId } = idsOf(member);
    const isLast = [...this.#model.keys()].filter((other) => idsOf(other).userId === userId).length === 1;
    if (isLast && isDebounced) {
      connection.status = 'away';
      return 'away';
    }
    this.#model.delete(member);
    return 'left';
  }

  /** Time goes by: what is not renewed ends, and several processes look at the same moment. */
  async #lapse(lookers: number): Promise<void> {
    for (const [member, { status }] of this.#model) {
      if (status === 'here') continue;
      await this.#redis.zadd(this.#keys.leases, 1, member);
      this.#model.delete(member);
    }
    await Promise.all(Array.from({ length: lookers }, (_, at) => this.#beat(at % PROCESSES)));
  }

  async #beat(process: number): Promise<void> {
    const mine = [...this.#model].filter(([, other]) => other.process === process && other.status === 'here');
    const beats = mine.flatMap(([member, { owner }]) => [member, owner]);
    const pulse = await beatRoom(this.#redis, this.#keys, { ...HOW, channel: this.#room, beats });
    mustBe([pulse.out, pulse.replaced], [[], []]);
  }

  /** Takes in what was said, but for what is missed. @returns whether something was missed */
  async #hear(): Promise<boolean> {
    await this.#redis.publish(this.#room, '["mark"]');
    await eventually(() => mustBe(this.#heard.at(-1), '["mark"]'));
    const texts = this.#heard.splice(0).slice(0, -1);
    let hasMissed = false;
    for (const text of texts) {
      const said = readMessage(text);
      mustBe(said === undefined, false, text);
      if (!said || said.kind === 'away') continue;
      if (this.#toMiss > 0) {
        this.#toMiss--;
        hasMissed = true;
        continue;
      }
      const place = this.#view.placeOf(said);
      if (place === 'gap') {
        hasMissed = true;
        await this.#read();
      } else if (place === 'next') this.#tell(this.#view.apply(said));
    }
    // The beat tells of what was missed at the end.
    const { seq } = await beatRoom(this.#redis, this.#keys, { ...HOW, channel: this.#room, beats: [] });
    if (seq !== this.#view.seq) await this.#read();
    return hasMissed;
  }

  async #read(): Promise<void> {
    const { states, clock } = this.#keys;
    for (const change of this.#view.replaceBy(await takeSnapshot(this.#redis, { states, clock }, {})))
      this.#tell(change);
  }

  #tell(change: PresenceChange | undefined): void {
    if (!change || change.type === 'update') return;
    this.#told.set(change.userId, [...(this.#told.get(change.userId) ?? []), change.type]);
  }

  async #check(): Promise<void> {
    const { states, clock } = this.#keys;
    const expected = new Map([...this.#model].map(([member, { state }]) => [member, state]));
    const now = await takeSnapshot(this.#redis, { states, clock }, {});
    mustBe(Object.fromEntries(now.states), Object.fromEntries(expected));
    mustBe(now.seq, this.#view.seq);
    const seen = this.#view
      .all()
      .map(({ connectionId, userId, state }) => `${connectionId} ${userId} ${JSON.stringify(state)}`);
    mustBe(seen.toSorted(), [...expected].map(([member, state]) => `${member} ${state}`).toSorted());
    const { users, connections } = await beatRoom(this.#redis, this.#keys, { ...HOW, channel: this.#room, beats: [] });
    mustBe({ users, connections }, { users: this.#users().size, connections: this.#model.size });
    if (this.#model.size === 0) mustBe(await this.#redis.exists(...Object.values(this.#keys)), 0);
    for (const key of Object.values(this.#keys)) mustBe((await this.#redis.pttl(key)) === -1, false, key);
  }

  #users(): Set<string> {
    return new Set([...this.#model.keys()].map((member) => idsOf(member).userId));
  }

  #pick(pick: number): [string, Connection | undefined] {
    const all = [...this.#model];
    return all[pick % Math.max(1, all.length)] ?? ['', undefined];
  }
}

function mustBe(actual: unknown, expected: unknown, what?: string): void {
  expect(actual, what).toEqual(expected);
}

function mustMatch(text: string, pattern: RegExp): void {
  expect(text).toMatch(pattern);
}
