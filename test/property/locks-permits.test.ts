/**
 * Permits against an exact model, one script after the other: who holds, who waits and in which order, after any history of acquires,
 * looks, releases, leavings, downgrades and changes of the number of permits by three processes.
 */
import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { PretendedProcess } from '../lock/permits/pretended-process.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

interface Member {
  process: number;
  id: string;
  weight: number;
}

type Act =
  | { act: 'acquire'; process: number; weight: number; how: 'try' | 'queue' }
  | { act: 'again' | 'watch' | 'giveBack' | 'keep'; pick: number }
  | { act: 'setPermits'; permits: number };

/** What must be so, by the simplest code that says it. */
class Model {
  permits: number;
  holders: Member[] = [];
  queue: Member[] = [];

  constructor(permits: number) {
    this.permits = permits;
  }

  get used(): number {
    return this.holders.reduce((sum, { weight }) => sum + weight, 0);
  }

  find(pick: number): Member | undefined {
    const all = [...this.holders, ...this.queue];
    return all[pick % Math.max(1, all.length)];
  }

  grantWhoFits(): void {
    for (const waiter of this.queue) {
      if (waiter.weight > this.permits) continue;
      if (this.used + waiter.weight > this.permits) return;
      this.queue = this.queue.filter((other) => other !== waiter);
      this.holders.push(waiter);
    }
  }

  leave(member: Member): void {
    this.holders = this.holders.filter((other) => other !== member);
    this.queue = this.queue.filter((other) => other !== member);
    this.grantWhoFits();
  }
}

let server: TestServer;
let connections: Connections;
beforeAll(async () => {
  server = await startRedis();
  connections = createConnections({ url: server.url });
  await connections.commands().ping();
});
afterAll(async () => {
  await connections.close();
  await server.stop();
});

const pick = fc.nat({ max: 1_000 });
const acts: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      act: fc.constant('acquire' as const),
      process: fc.nat({ max: 2 }),
      weight: fc.integer({ min: 1, max: 5 }),
      how: fc.constantFrom('queue' as const, 'queue' as const, 'try' as const),
    }),
  },
  { weight: 4, arbitrary: fc.record({ act: fc.constant('giveBack' as const), pick }) },
  {
    weight: 2,
    arbitrary: fc.record({ act: fc.constantFrom('again' as const, 'watch' as const, 'keep' as const), pick }),
  },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('setPermits' as const), permits: fc.nat({ max: 6 }) }) },
);

let lastName = 0;

test('permits are held and waited for as the model says, whatever the history', { timeout: 120_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 5 }),
      fc.array(acts, { minLength: 1, maxLength: 40 }),
      async (permits, history) => {
        const name = `history/${++lastName}`;
        const processes = [0, 1, 2].map(
          (id) => new PretendedProcess(connections.commands(), `process-${id}`, name, { permits }),
        );
        const of = ({ process }: { process: number }): PretendedProcess => processes[process] as PretendedProcess;
        const model = new Model(permits);
        const tokens = new Map<string, number>();
        let lastId = 0;
        for (const act of history) {
          const { said, expected } = await play(act, model, of, () => `w${++lastId}`);
          expect(said).toBe(expected);
          const seen = await (processes[0] as PretendedProcess).inspect();
          expect(seen.permits).toBe(model.permits);
          expect(seen.waiters.map(({ waiterId }) => waiterId)).toEqual(model.queue.map(({ id }) => id));
          const held = new Map(seen.holders.map((entry) => [entry.waiterId, entry]));
          expect([...held.keys()].toSorted()).toEqual(model.holders.map(({ id }) => id).toSorted());
          for (const { id, weight } of model.holders) expect(held.get(id)?.weight).toBe(weight);
          // The model lists holders in the order of their grants: so do their tokens, which never change and are never given twice.
          const inOrder = model.holders.map(({ id }) => held.get(id)?.token ?? 0);
          expect(inOrder).toEqual(inOrder.toSorted((left, right) => left - right));
          for (const [id, { token }] of held) {
            expect(tokens.get(id) ?? token).toBe(token);
            tokens.set(id, token);
          }
          expect(new Set(tokens.values()).size).toBe(tokens.size);
        }
      },
    ),
    { numRuns: 150 },
  );
});

/** Plays the act on both. @returns what Redis said, and what the model says to that */
async function play(
  act: Act,
  model: Model,
  of: (member: { process: number }) => PretendedProcess,
  nextId: () => string,
): Promise<{ said: string; expected: string }> {
  if (act.act === 'acquire') {
    const member: Member = { process: act.process, id: nextId(), weight: act.weight };
    model.queue.push(member);
    model.grantWhoFits();
    const expected = model.holders.includes(member) ? 'granted' : act.how === 'try' ? 'refused' : 'queued';
    if (expected === 'refused') model.queue = model.queue.filter((other) => other !== member);
    return { said: await of(act).statusOf(member.id, { weight: act.weight, how: act.how }), expected };
  }
  if (act.act === 'setPermits') {
    model.permits = act.permits;
    model.grantWhoFits();
    const process = of({ process: 0 });
    await connections.commands().set(process.keys.permits, act.permits);
    return { said: (await process.giveBack('')).outcome, expected: 'gone' };
  }
  const member = model.find(act.pick);
  if (!member) return { said: '', expected: '' };
  const isHolder = model.holders.includes(member);
  const process = of(member);
  switch (act.act) {
    case 'again':
    case 'watch': {
      const how = act.act === 'again' ? 'queue' : 'watch';
      const said = await process.statusOf(member.id, { weight: member.weight, how });
      return { said, expected: isHolder ? 'granted' : 'queued' };
    }
    case 'giveBack':
      model.leave(member);
      return { said: (await process.giveBack(member.id)).outcome, expected: isHolder ? 'released' : 'left' };
    case 'keep': {
      if (!isHolder) return { said: '', expected: '' };
      member.weight = 1;
      model.grantWhoFits();
      return { said: (await process.giveBack(member.id, { kept: 1, keptMode: 'shared' })).outcome, expected: 'kept' };
    }
  }
}
