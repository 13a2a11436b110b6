import { startForFile } from '../contract/topologies.ts';
import { ownedByTest } from '../support/owned.ts';
import { testOutage } from './outages.ts';

const running = startForFile('standalone');
const own = ownedByTest();

testOutage(own, running, {
  name: 'kill -9 of a Redis with an append-only file',
  rounds: 10,
  keepsAll: true,
  happen: (topology, key) => topology.failOver(key),
});

testOutage(own, running, {
  name: 'a restart of a Redis with an append-only file',
  rounds: 10,
  keepsAll: true,
  happen: ({ servers: [server] }) => server?.restart() ?? Promise.reject(new Error('there is no server')),
});
