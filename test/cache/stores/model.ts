/** A ChangeLog, and what it should hold after each step. */
import { randomUUID } from 'node:crypto';
import { expect } from 'vitest';
import { ChangeLog, type Taken, type Verdict } from '../../../src/cache/stores/change-log.ts';
import { systemClock } from '../../../src/clock.ts';
import type { Connections } from '../../../src/redis/connect.ts';
import { waitForPlace, type HeldPlace } from '../../../src/redis/place.ts';

const MAX_PENDING = 5;
const MAX_DEAD = 3;
/** The keys that a history is about. */
export const KEYS = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
const LEASE_MS = 60_000;

function mustEqual(actual: unknown, expected: unknown): void {
  expect(actual).toEqual(expected);
}

/** The log, and what it should hold. */
export class Model {
  readonly log: ChangeLog;
  readonly #connections: Pick<Connections, 'commands'>;
  readonly pending = new Map<string, { value: string; version: number }>();
  readonly dead = new Map<string, string>();
  #token = 'first';
  #held: HeldPlace | undefined;
  #after = '0-0';
  #taken: readonly Taken[] = [];
  #last = 0;
  #n = 0;

  constructor(connections: Pick<Connections, 'commands'>) {
    this.#connections = connections;
    this.log = new ChangeLog(connections, `t-${randomUUID()}`, 'model');
  }

  async append(keys: readonly string[]): Promise<void> {
    const drafts = keys.map((name) => ({ key: name, kind: 'set' as const, value: JSON.stringify(this.#n++) }));
    const more = new Set(keys.filter((name) => !this.pending.has(name))).size;
    const { isAccepted, versions } = await this.log.append(drafts, MAX_PENDING);
    mustEqual(isAccepted, more === 0 || this.pending.size + more <= MAX_PENDING);
    if (!isAccepted) return;
    for (const [at, { key: name, value }] of drafts.entries()) {
      const version = versions[at] ?? 0;
      mustEqual(version > this.#last, true);
      this.#last = version;
      this.pending.set(name, { value, version });
      this.dead.delete(name);
    }
  }

  async take(batchSize: number): Promise<void> {
    // Not all of the batch before was told of, as when a settle fails: then the flusher begins anew.
    if (this.#taken.length > 0) this.#after = '0-0';
    const how = { leaseMs: LEASE_MS, after: this.#after, batchSize, flushAfterMs: 0, maxDelayMs: 1_000 };
    await this.#lead();
    const take = await this.log.take(this.#token, how);
    mustEqual(take.isMine, true);
    mustEqual(take.taken.length <= batchSize, true);
    this.#after = take.after;
    this.#taken = take.taken;
    for (const one of take.taken) {
      mustEqual(this.pending.get(one.key), { value: one.value, version: one.version });
      mustEqual(one.attempt >= 1, true);
    }
  }

  async settle(outcomes: readonly string[]): Promise<void> {
    const verdicts = this.#taken.flatMap((one, at): Verdict[] => {
      const what = outcomes[at % outcomes.length] as Verdict['outcome'] | 'lost';
      return what === 'lost' ? [] : [{ id: one.id, outcome: what, delayMs: 0, error: '{"name":"E","message":""}' }];
    });
    const taken = this.#taken;
    if (verdicts.length === taken.length) this.#taken = [];
    const { isMine, became } = await this.log.settle(this.#token, { leaseMs: LEASE_MS, maxDead: MAX_DEAD }, verdicts);
    if (taken.length > 0) mustEqual(isMine, true);
    for (const [at, { id, outcome: what }] of verdicts.entries()) {
      const one = taken.find((other) => other.id === id) as Taken;
      const isCurrent = this.pending.get(one.key)?.version === one.version;
      if (!isCurrent) {
        mustEqual(became[at], what === 'saved' ? 'saved' : 'replaced');
      } else if (what === 'dead' && this.dead.size >= MAX_DEAD) {
        mustEqual(became[at], 'full');
      } else {
        mustEqual(became[at], what);
        if (what === 'saved' || what === 'dead') this.pending.delete(one.key);
        if (what === 'dead') this.dead.set(one.key, one.value);
      }
    }
  }

  /** Another process comes; what the first one still says is refused. */
  async takeover(): Promise<void> {
    const stale = this.#taken[0];
    await this.end();
    const before = this.#token;
    this.#token = randomUUID();
    await this.#lead();
    if (stale) {
      const verdict: Verdict = { id: stale.id, outcome: 'saved', delayMs: 0, error: '' };
      mustEqual(await this.log.settle(before, { leaseMs: LEASE_MS, maxDead: MAX_DEAD }, [verdict]), {
        isMine: false,
        became: [],
      });
    }
    this.#after = '0-0';
    this.#taken = [];
  }

  /** Nobody saves any more. */
  async end(): Promise<void> {
    await this.#held?.release();
    this.#held = undefined;
  }

  async #lead(): Promise<void> {
    if (this.#held) return;
    const place = this.log.place(this.#token, LEASE_MS, systemClock);
    this.#held = await waitForPlace(place, AbortSignal.timeout(5_000));
  }

  async redrive(): Promise<void> {
    const letters = await this.#connections.commands().xrange(this.log.keys.dead, '-', '+');
    const done = await this.log.redrive(
      letters.map(([id]) => id),
      MAX_PENDING,
    );
    mustEqual(done.length, Math.min(letters.length, Math.max(0, MAX_PENDING - this.pending.size)));
    for (const one of done) {
      const version = Number.parseInt(one?.id ?? '', 10);
      mustEqual(version > this.#last, true);
      this.#last = version;
      this.pending.set(one?.key ?? '', { value: this.dead.get(one?.key ?? '') ?? '', version });
      this.dead.delete(one?.key ?? '');
    }
  }

  async discard(): Promise<void> {
    const [first] = await this.#connections.commands().xrange(this.log.keys.dead, '-', '+', 'COUNT', 1);
    mustEqual(await this.log.discard([first?.[0] ?? '1-1']), first ? 1 : 0);
    if (first) this.dead.delete(first[1][1] ?? '');
  }

  /** Holds what is in Redis against the model. */
  async check(): Promise<void> {
    const client = this.#connections.commands();
    const { changes, latest, attempts, retries, untold, dead, deadKeys } = this.log.keys;
    const entries = await client.xrange(changes, '-', '+');
    const ids = new Set(entries.map(([id]) => id));
    mustEqual(
      new Map(entries.map(([id, fields]) => [fields[1], { value: fields[5], version: Number.parseInt(id, 10) }])),
      this.pending,
    );
    mustEqual(
      new Map(Object.entries(await client.hgetall(latest))),
      new Map(entries.map(([id, fields]) => [fields[1], id])),
    );
    for (const of of [
      await client.hkeys(attempts),
      await client.zrange(retries, '0', '-1'),
      await client.hkeys(untold),
    ])
      mustEqual(
        of.filter((id) => !ids.has(id)),
        [],
      );
    const letters = await client.xrange(dead, '-', '+');
    mustEqual(new Map(letters.map(([, fields]) => [fields[1], fields[5]])), this.dead);
    mustEqual(
      new Map(Object.entries(await client.hgetall(deadKeys))),
      new Map(letters.map(([id, fields]) => [fields[1], id])),
    );
    mustEqual(
      (await this.log.look(KEYS)).map((found) => found?.value),
      KEYS.map((name) => this.pending.get(name)?.value),
    );
  }
}
