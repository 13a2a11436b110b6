/** What capabilities() promises, on every topology. */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Topology } from '../../src/redis/address.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { commandCount } from '../support/command-count.ts';
import { openAll, type RunningTopology } from './topologies.ts';

export function capabilitiesContract(topology: () => RunningTopology, name: Topology): void {
  const asked = (): Promise<number> => commandCount(topology().servers, 'command|info');

  describe('capabilities', () => {
    let connections: Connections;
    beforeAll(async () => {
      connections = createConnections(topology().redis);
      await openAll(connections.commands());
    });
    afterAll(() => connections.close());

    test('are asked once, of every master', async () => {
      const { version } = inject('servers').main;
      const before = await asked();
      const mode = name === 'cluster' ? 'cluster' : 'standalone';
      expect(await connections.capabilities()).toMatchObject({ version, topology: mode });
      expect(await connections.capabilities()).toBe(await connections.capabilities());
      expect((await asked()) - before).toBe(name === 'cluster' ? 3 : 1);
    });
  });
}
