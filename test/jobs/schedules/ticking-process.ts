/** A process that declares one schedule and settles its ticks; for tests, which kill it. */
import { schedule } from '../../../src/jobs/schedules/schedule.ts';
import { report, Workplace } from './workplace.ts';

const [url = '', prefix = ''] = process.argv.slice(2);
const place = new Workplace(
  { url },
  { prefix, onSettled: ({ ran, missed }) => process.stdout.write(`settled ${JSON.stringify({ ran, missed })}\n`) },
);
const often = schedule(report, { kind: 'a' }, { id: 'often', every: 100, missed: 'all', missedLimit: 1_000 });
const { added } = await place.schedules.reconcile([often]);
process.stdout.write(`reconciled ${added.length}\n`);
place.schedules.start();
process.once('SIGTERM', () => void place.close());
