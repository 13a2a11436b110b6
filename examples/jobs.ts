/**
 * A contract, a worker and an app in one file: a bulk of jobs, one that fails twice, one that is cancelled, and a dead letter that is sent back.
 *
 *   node --conditions=millrace-source --import tsx examples/jobs.ts      in a checkout
 */
import { createPlatform, defineJob, handle, readEnv, unrecoverable } from 'millrace';
import { z } from 'zod';

const resize = defineJob({
  name: 'examples.resize',
  input: z.object({ image: z.string(), width: z.number().int().positive().default(640) }),
  output: z.object({ file: z.string() }),
  attempts: 3,
  backoff: '50ms',
  timeout: '10s',
});

const resizeHandler = handle(resize, async ({ image, width }, { job, log, once, signal }) => {
  if (image === 'flaky.png' && job.attempt < 3) throw new Error(`the image server answered 503`);
  if (image === 'broken.png' && job.redriven === 0) throw unrecoverable(`${image} is no image`);
  if (image === 'huge.png')
    await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
  const file = await once('resized', () => `${width}-${image}`);
  log.info({ file }, 'resized');
  return { file };
});

const platform = createPlatform({ ...readEnv().platform, log: { level: 'error' } });
await platform.start();
try {
  await platform.work({ handlers: [resizeHandler], concurrency: 5 });
  const { jobs, deadLetters } = platform;

  const many = await jobs.enqueueMany(resize, [{ image: 'a.png' }, { image: 'b.png', width: 100 }]);
  console.log(
    'bulk',
    many.map(({ status }) => status),
  );

  console.log('after two failures', await jobs.enqueueAndWait(resize, { image: 'flaky.png' }));

  const { id } = await jobs.enqueue(resize, { image: 'huge.png' });
  console.log('cancelled', await jobs.cancel(id, { reason: 'too large' }));

  const broken = await jobs.enqueue(resize, { image: 'broken.png' });
  let letter = await deadLetters.get(`${broken.id}~0`);
  for (; !letter; letter = await deadLetters.get(`${broken.id}~0`)) await new Promise((next) => setTimeout(next, 20));
  console.log('dead', letter.reason, letter.error.message);
  const { redriven } = await deadLetters.redrive(letter.id, { by: 'examples/jobs.ts' });
  console.log('sent back', redriven);
} finally {
  await platform.stop();
}
