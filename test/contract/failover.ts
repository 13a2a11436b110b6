/** What happens to calls over the loss of a master, on every topology. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { MillraceError } from '../../src/errors.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { eventually } from '../support/eventually.ts';
import { count } from '../support/scripts.ts';
import { openAll, type RunningTopology } from './topologies.ts';

/** Errors that a caller may meet while a master is lost; each says that the call did not count, or that it is not known. */
const OUTAGE_CODES = new Set([
  'REDIS_CLUSTER_DOWN',
  'REDIS_NOT_READY',
  'REDIS_TIMEOUT',
  'REDIS_UNREACHABLE',
  'REDIS_WRITES_REFUSED',
]);

export function failoverContract(topology: () => RunningTopology): void {
  describe('a failover', () => {
    let connections: Connections;
    beforeAll(async () => {
      connections = createConnections({ ...topology().redis, commandTimeout: 2_000 });
      await openAll(connections.commands());
    });
    afterAll(() => connections.close());

    test('counts no call twice, loses none that succeeded, and lets calls work again', async () => {
      const commands = connections.commands();
      const counter = '{failover}:count';
      const capabilities = await connections.capabilities();
      await count(commands, { counter }, { step: 0 });
      const calls = { issued: 0, succeeded: 0, isOver: false };
      const odd: unknown[] = [];
      const caller = async (): Promise<void> => {
        while (!calls.isOver) {
          calls.issued++;
          try {
            await count(commands, { counter }, { step: 1 });
            calls.succeeded++;
          } catch (error) {
            if (!(error instanceof MillraceError && OUTAGE_CODES.has(error.code))) odd.push(error);
            await systemClock.sleep(20);
          }
        }
      };
      const callers = [caller(), caller(), caller()];
      await eventually(() => expect(calls.succeeded).toBeGreaterThan(20));
      await topology().failOver(counter);
      const sinceThen = calls.succeeded;
      await eventually(() => expect(calls.succeeded).toBeGreaterThan(sinceThen + 20), 20_000);
      calls.isOver = true;
      await Promise.all(callers);
      const total = Number(await commands.get(counter));
      expect(odd).toEqual([]);
      expect(total).toBeGreaterThanOrEqual(calls.succeeded);
      expect(total).toBeLessThanOrEqual(calls.issued);
      // The new master may be another version: what it can do is asked again.
      const again = await eventually(async () => {
        const asked = await connections.capabilities();
        expect(asked).not.toBe(capabilities);
        return asked;
      });
      expect(again).toEqual(capabilities);
    });
  });
}
