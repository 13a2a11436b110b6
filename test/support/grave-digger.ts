/**
 * Moves or redrives for several prefixes, each up to a step, and is killed there: `grave-digger OPTIONS move|redrive IDS STEP=PREFIX...`.
 *
 * Each of them stands still at its step; at the one that is named last the process ends itself with SIGKILL in that very moment.
 */
import { Mover } from '../../src/jobs/dead-letters/mover.ts';
import { createDeadLetters } from '../../src/jobs/dead-letters/dead-letters.ts';
import { Transactions } from '../../src/jobs/transactions.ts';
import { QueueSet } from '../../src/jobs/queue-set.ts';
import type { RedisOptions } from '../../src/redis/address.ts';
import { createConnections } from '../../src/redis/connect.ts';

const [redis = '{}', act, idList = '', ...plans] = process.argv.slice(2);
const ids = idList.split(',');
const connections = createConnections(JSON.parse(redis) as RedisOptions);
const [last, ...others] = plans.map((plan) => plan.split('=')).toReversed();

await Promise.all(others.map((plan) => goTo(plan)));
await goTo(last, () => process.kill(process.pid, 'SIGKILL'));

/** Resolves when it stands at the step, where `arrive` was called. */
function goTo([killAt, prefix = '']: string[] = [], arrive = (): unknown => undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const queues = new QueueSet(connections, prefix);
    const transactions = new Transactions(queues, {
      onStep: (step) => {
        if (step !== killAt) return undefined;
        arrive();
        resolve();
        return new Promise(() => undefined);
      },
    });
    perform(queues, transactions).then(() => reject(new Error(`it never came to ${killAt}`)), reject);
  });
}

async function perform(queues: QueueSet, transactions: Transactions): Promise<void> {
  if (act === 'move') {
    const mover = new Mover({ queues, transactions });
    await Promise.all(ids.map((id) => mover.moved('mail', id)));
  } else {
    const letters = createDeadLetters(queues, { transactions });
    await (ids.length === 1 ? letters.redrive(`${ids[0]}~0`) : letters.redrive({ queue: 'mail' }));
  }
}
