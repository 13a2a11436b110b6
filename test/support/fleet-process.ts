/** A worker in a process of its own that tells the fleet of itself: `fleet-process URL PREFIX`. SIGTERM stops it. */
import { handle, type JobModules } from '../../src/jobs/handler.ts';
import { JobsRuntime } from '../../src/jobs/runtime.ts';
import { silentLogger } from '../../src/log.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { contractOf } from './contracts.ts';

const [url = '', prefix = ''] = process.argv.slice(2);
const connections = createConnections({ url });
const runtime = new JobsRuntime({
  connections,
  prefix,
  log: silentLogger,
  registry: createMetrics(),
  modules: {} as JobModules,
  options: {},
  deadLetters: {},
  version: 'test',
  appVersion: 'child-1',
  heartbeatMs: 200,
});
await runtime.work({ handlers: [handle(contractOf('fleet.child'), () => undefined)] });
process.once('SIGTERM', () => void runtime.close().then(() => connections.close()));
console.log('ready');
