/**
 * Moves or redrives, and is killed on the way: `grave-digger OPTIONS PREFIX move|redrive STEP IDS`. At the step it ends itself with SIGKILL;
 * at `never` it finishes and says `done`.
 */
import { Mover } from '../../src/jobs/dead-letters/mover.ts';
import { createDeadLetters } from '../../src/jobs/dead-letters/dead-letters.ts';
import { Transactions } from '../../src/jobs/transactions.ts';
import { QueueSet } from '../../src/jobs/queue-set.ts';
import type { RedisOptions } from '../../src/redis/address.ts';
import { createConnections } from '../../src/redis/connect.ts';

const [redis = '{}', prefix = '', act, killAt, idList = ''] = process.argv.slice(2);
const ids = idList.split(',');
const connections = createConnections(JSON.parse(redis) as RedisOptions);
const queues = new QueueSet(connections, prefix);
const transactions = new Transactions(queues, {
  onStep: (step) => {
    if (step === killAt) process.kill(process.pid, 'SIGKILL');
  },
});
if (act === 'move') {
  const mover = new Mover({ queues, transactions });
  await Promise.all(ids.map((id) => mover.moved('mail', id)));
} else {
  const letters = createDeadLetters(queues, { transactions });
  await (ids.length === 1 ? letters.redrive(`${ids[0]}~0`) : letters.redrive({ queue: 'mail' }));
}
console.log('done');
await transactions.close();
await queues.close();
await connections.close();
