/** The job that `npm start` runs, so that there is something to try: it greets, waits, or fails, as it is told. */
import { z } from 'zod';
import { defineJob, handle, unrecoverable, type Handler, type JobContract } from '../index.ts';

interface Greeting {
  name: string;
  sleepMs: number;
  fail?: 'once' | 'always' | 'for-good' | undefined;
}

/** The contract of the sample. */
export const hello: JobContract<
  { name: string; sleepMs?: number | undefined; fail?: Greeting['fail'] },
  Greeting,
  { text: string }
> = defineJob({
  name: 'sample.hello',
  input: z.strictObject({
    name: z.string().min(1),
    sleepMs: z.number().int().min(0).max(600_000).default(0),
    fail: z.enum(['once', 'always', 'for-good']).optional(),
  }),
  output: z.object({ text: z.string() }),
  attempts: 3,
  backoff: { type: 'exponential', delay: '1s', max: '10s', jitter: 0.3 },
  timeout: '15m',
});

/** Its handler. */
export const helloHandler: Handler = handle(hello, async ({ name, sleepMs, fail }, { job, log, progress, signal }) => {
  log.info({ name }, 'greeting');
  const steps = sleepMs > 0 ? 10 : 0;
  for (let step = 1; step <= steps; step++) {
    await sleep(sleepMs / steps, signal);
    progress((step / steps) * 100);
  }
  if (fail === 'for-good') throw unrecoverable(`${name} does not want to be greeted`);
  if (fail === 'always' || (fail === 'once' && job.attempt === 1)) throw new TypeError(`could not greet ${name}`);
  return { text: `Hello, ${name}!` };
});

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    });
  });
}
