import { startForFile } from '../contract/topologies.ts';
import { ownedByTest } from '../support/owned.ts';
import { testOutage } from './outages.ts';

testOutage(ownedByTest(), startForFile('cluster'), {
  name: 'a Cluster failover',
  rounds: 5,
  keepsAll: false,
  happen: (topology, key) => topology.failOver(key),
});
