/**
 * Histories of mutexes, semaphores and read-write locks of three processes: nobody is inside beside whom he must not be, tokens follow
 * the order of what really happened, and at the end nothing is held and nobody waits. Holders come and go, give up, abort and let their
 * leases run out, while scripts are forgotten and connections are lost.
 */
import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { MillraceError } from '../../src/errors.ts';
import type { Lock } from '../../src/lock/lock.ts';
import type { LockOptions } from '../../src/lock/options.ts';
import { ownedLocks } from '../lock/permits/open-locks.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const PERMITS = 3;
const KINDS = ['mutex', 'semaphore', 'read', 'write'] as const;

/** Somebody who wants in. */
interface Visitor {
  process: number;
  kind: (typeof KINDS)[number];
  weight: number;
  comesAtMs: number;
  staysMs: number;
  /** How long it waits; it aborts by its signal or gives up by itself. */
  waitMs: number;
  aborts: boolean;
  /** Its lease is short and is not extended: it leaves when its signal says so. */
  forgetful: boolean;
}

/** What happened to one who was granted; moments are counted up as they come. */
interface Visit {
  kind: Visitor['kind'];
  weight: number;
  token: number;
  askedAt: number;
  enteredAt: number;
  leftAt: number;
}

type Trouble = { atMs: number; what: 'forget scripts' | 'cut off' };

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const openLocks = ownedLocks();
let lastName = 0;

const visitors: fc.Arbitrary<Visitor> = fc.record({
  process: fc.nat({ max: 2 }),
  kind: fc.constantFrom(...KINDS),
  weight: fc.integer({ min: 1, max: PERMITS }),
  comesAtMs: fc.nat({ max: 200 }),
  staysMs: fc.nat({ max: 25 }),
  waitMs: fc.oneof({ weight: 4, arbitrary: fc.constant(20_000) }, { weight: 1, arbitrary: fc.nat({ max: 60 }) }),
  aborts: fc.boolean(),
  forgetful: fc.nat({ max: 9 }).map((chance) => chance === 0),
});
const troubles: fc.Arbitrary<Trouble> = fc.record({
  atMs: fc.nat({ max: 250 }),
  what: fc.constantFrom('forget scripts' as const, 'forget scripts' as const, 'cut off' as const),
});

/** A question that was under way when connections were cut may be cut off itself. */
async function happen({ atMs, what }: Trouble): Promise<void> {
  await systemClock.sleep(atMs);
  const command =
    what === 'forget scripts' ? ['SCRIPT', 'FLUSH'] : ['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'];
  const [verb = '', ...rest] = command;
  await server.ask((redis) => redis.call(verb, ...rest)).catch(() => undefined);
}

/** How much of what a visit is inside of it takes; all of it is 1. */
function shareOf({ kind, weight }: Visit): number {
  if (kind === 'semaphore') return weight / PERMITS;
  return kind === 'read' ? 0 : 1;
}

/** Faults in what was seen: of one lock, in the order of entering. */
function faultsOf(visits: readonly Visit[]): string[] {
  const faults: string[] = [];
  for (const visit of visits) {
    const beside = visits.filter((other) => other.enteredAt <= visit.enteredAt && other.leftAt > visit.enteredAt);
    const used = beside.reduce((sum, other) => sum + shareOf(other), 0);
    const isAlone = beside.length === 1;
    const isCrowded = used > 1 + 1e-9 || (!isAlone && beside.some(({ kind }) => kind === 'write'));
    if (isCrowded) faults.push(`together: ${JSON.stringify(beside)}`);
    for (const later of visits) {
      const isOld = later.askedAt > visit.enteredAt && later.token <= visit.token;
      if (isOld) faults.push(`${later.token} came after ${visit.token}`);
    }
  }
  if (new Set(visits.map(({ token }) => token)).size < visits.length) faults.push('a token was given twice');
  return faults;
}

test('nobody is inside beside whom he must not be, whatever the history', { timeout: 180_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(visitors, { minLength: 5, maxLength: 60 }),
      fc.array(troubles, { maxLength: 4 }),
      async (all, trouble) => {
        const name = `history ${++lastName}`;
        const processes = await Promise.all(
          [0, 1, 2].map(async () => {
            const { locks, connections } = await openLocks({ url: server.url });
            const semaphore = locks.semaphore(name, { permits: PERMITS });
            const readWrite = locks.readWrite(name);
            const take = (kind: Visitor['kind'], weight: number, options: LockOptions): Promise<Lock> => {
              if (kind === 'mutex') return locks.acquire(name, options);
              if (kind === 'semaphore') return semaphore.acquire({ ...options, weight });
              return kind === 'read' ? readWrite.acquireRead(options) : readWrite.acquireWrite(options);
            };
            return { connections, locks, semaphore, readWrite, take };
          }),
        );
        const [first] = processes;
        if (!first) return;
        let moment = 0;
        const seen = new Map<string, Visit[]>();
        const come = async (visitor: Visitor): Promise<void> => {
          const { kind, weight, waitMs } = visitor;
          await systemClock.sleep(visitor.comesAtMs);
          const askedAt = moment++;
          const abort = new AbortController();
          const timer = visitor.aborts ? setTimeout(() => abort.abort(new Error('enough')), waitMs) : undefined;
          const options: LockOptions = {
            wait: visitor.aborts ? 30_000 : waitMs,
            signal: abort.signal,
            ...(visitor.forgetful ? { ttl: 150, autoExtend: false } : { ttl: 10_000 }),
          };
          try {
            const lock = await processes[visitor.process]?.take(kind, weight, options);
            if (!lock) return;
            const visit: Visit = { kind, weight, token: lock.token, askedAt, enteredAt: moment++, leftAt: Infinity };
            const lockKind = kind === 'read' || kind === 'write' ? 'read-write' : kind;
            seen.set(lockKind, [...(seen.get(lockKind) ?? []), visit]);
            lock.signal.addEventListener('abort', () => (visit.leftAt = Math.min(visit.leftAt, moment++)));
            await systemClock.sleep(visitor.forgetful ? 200 : visitor.staysMs);
            visit.leftAt = Math.min(visit.leftAt, moment++);
            await lock.release();
          } catch (error) {
            const isExpected =
              error instanceof MillraceError
                ? ['LOCK_TIMEOUT', 'LOCK_UNAVAILABLE'].includes(error.code)
                : abort.signal.aborted;
            if (!isExpected) throw error;
          } finally {
            clearTimeout(timer);
          }
        };
        await Promise.all([...all.map(come), ...trouble.map(happen)]);
        for (const visits of seen.values()) expect(faultsOf(visits)).toEqual([]);
        await eventually(async () => {
          expect(await first.locks.inspect(name)).toMatchObject({ holder: undefined, waiting: 0 });
          expect(await first.semaphore.inspect()).toMatchObject({ used: 0, waiting: 0 });
          expect(await first.readWrite.inspect()).toMatchObject({ writer: undefined, readers: [], waiting: 0 });
        }, 15_000);
        for (const { locks, connections } of processes) {
          await locks.stop();
          await connections.close();
        }
      },
    ),
    { numRuns: 12, endOnFailure: true },
  );
});
