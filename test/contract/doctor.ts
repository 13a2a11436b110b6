/** What the doctor promises, on every topology. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Topology } from '../../src/redis/address.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { diagnose } from '../../src/redis/doctor.ts';
import { openAll, type RunningTopology } from './topologies.ts';

export function doctorContract(topology: () => RunningTopology, name: Topology): void {
  describe('the doctor', () => {
    let connections: Connections;
    beforeAll(async () => {
      connections = createConnections(topology().redis);
      await openAll(connections.commands());
    });
    afterAll(() => connections.close());

    test('looks at each master, and calls it by its own address', async () => {
      const report = await diagnose(connections, 'test');
      expect(report).toMatchObject({ topology: name, address: connections.label });
      const roles = await Promise.all(topology().servers.map(async (server) => (await server.info()).role));
      const masters = topology().servers.filter((_server, index) => roles[index] === 'master');
      expect(masters).toHaveLength(name === 'cluster' ? 3 : 1);
      expect(report.nodes.map(({ address }) => address).toSorted()).toEqual(
        masters.map(({ address }) => address).toSorted(),
      );
      expect(report.nodes.map(({ role }) => role)).toEqual(masters.map(() => 'master'));
      expect(report.capabilities).toEqual(await connections.capabilities());
    });

    test('names the node that a finding is about, where there are several', async () => {
      const [server] = topology().servers;
      await server?.ask((redis) => redis.config('SET', 'maxmemory-policy', 'allkeys-lru'));
      try {
        const { findings } = await diagnose(connections, 'test');
        const found = findings.filter(({ id }) => id === 'eviction-on').map((finding) => finding.found);
        const prefix = name === 'cluster' ? `${server?.address}: ` : '';
        expect(found).toEqual([`${prefix}maxmemory-policy is allkeys-lru`]);
      } finally {
        await server?.ask((redis) => redis.config('SET', 'maxmemory-policy', 'noeviction'));
      }
    });
  });
}
