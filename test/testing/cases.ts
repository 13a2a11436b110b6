/** One table of jobs and what must become of them, whoever runs them: a worker on Redis, FakeJobs, or runHandler(). */
import { z } from 'zod';
import type { EnqueueOptions } from '../../src/jobs/enqueue-options.ts';
import { defineJob, type JobContract } from '../../src/jobs/contract.ts';
import { MillraceError } from '../../src/errors.ts';
import { handle, postpone, unrecoverable, type Handler } from '../../src/jobs/handler.ts';

/** What is seen of a job once nothing more happens to it. */
export interface Fate {
  state: 'completed' | 'dead' | 'cancelled';
  result?: unknown;
  /** Why it is dead. */
  reason?: string | undefined;
  attemptsMade: number;
  /** How each failed attempt ended, with the code of its error. */
  failures: Array<{ outcome: string; name: string | undefined; code: string | undefined; message: string | undefined }>;
  /** What the handler logged, without the time. */
  log: string[];
  progress: unknown;
  /** Names and inputs of the jobs that it enqueued. */
  enqueued: unknown[];
}

/** A job and its handler, made anew for each run. */
export interface Case {
  name: string;
  make: () => {
    contract: JobContract;
    handler: Handler;
    input: unknown;
    options?: EnqueueOptions;
    enqueuedBy?: JobContract;
  };
}

const input = z.object({ id: z.number(), kind: z.string().default('plain') });
const job = { name: 'cases.run', input, attempts: 3, backoff: 1, timeout: '5s' } as const;
const other = defineJob({ name: 'cases.other', queue: 'others', input: z.object({ of: z.number() }) });

class PaymentError extends Error {
  override readonly name = 'PaymentError';
  readonly code = 'E_DECLINED';
}

/** Fails so often before it succeeds. */
function failing(times: number, error: () => unknown = () => new Error('boom')): () => string {
  let count = 0;
  return () => {
    count += 1;
    if (count <= times) throw error();
    return `attempt ${count}`;
  };
}

const limited = (retryAfterMs: number) => (): MillraceError =>
  new MillraceError('RATE_LIMITED', 'the limit is used up', { retryAfterMs });

export const CASES: readonly Case[] = [
  {
    name: 'a result is kept as JSON, and defaults of the schema are filled in',
    make() {
      const contract = defineJob(job);
      const handler = handle(contract, ({ id, kind }) => ({ id, kind, at: new Date(0), none: undefined }));
      return { contract, handler, input: { id: 1 } };
    },
  },
  {
    name: 'no result is null',
    make() {
      const contract = defineJob(job);
      return { contract, handler: handle(contract, () => undefined), input: { id: 1 } };
    },
  },
  {
    name: 'what the handler logs, says of its progress and enqueues',
    make() {
      const contract = defineJob(job);
      const handler = handle(contract, async ({ id }, context) => {
        const { log, job: facts } = context;
        log.info({ id }, 'begun');
        log.debug('not kept');
        log.warn(`attempt ${facts.attempt} of ${facts.attempts}`);
        context.progress(50);
        context.progress({ done: id });
        await context.enqueue(other, { of: id });
        return facts.name;
      });
      return { contract, handler, input: { id: 7 }, enqueuedBy: other };
    },
  },
  {
    name: 'a job that fails once is tried again',
    make() {
      const contract = defineJob(job);
      return { contract, handler: handle(contract, failing(1)), input: { id: 1 } };
    },
  },
  {
    name: 'a job that always fails is dead once its attempts are used up',
    make() {
      const contract = defineJob(job);
      return {
        contract,
        handler: handle(
          contract,
          failing(9, () => new PaymentError('declined')),
        ),
        input: { id: 1 },
      };
    },
  },
  {
    name: 'an enqueue may give other attempts than the contract',
    make() {
      const contract = defineJob(job);
      return { contract, handler: handle(contract, failing(9)), input: { id: 1 }, options: { attempts: 1 } };
    },
  },
  {
    name: 'what is thrown need not be an error',
    make() {
      const contract = defineJob({ ...job, attempts: 1 });
      return {
        contract,
        handler: handle(
          contract,
          failing(9, () => 'just text'),
        ),
        input: { id: 1 },
      };
    },
  },
  {
    name: 'unrecoverable() ends it at once',
    make() {
      const contract = defineJob(job);
      return {
        contract,
        handler: handle(
          contract,
          failing(9, () => unrecoverable('gone')),
        ),
        input: { id: 1 },
      };
    },
  },
  {
    name: 'a backoff function that says false ends it at once',
    make() {
      const contract = defineJob({ ...job, backoff: (attempt) => (attempt < 2 ? 1 : false) });
      return { contract, handler: handle(contract, failing(9)), input: { id: 1 } };
    },
  },
  {
    name: 'postpone() uses up no attempt',
    make() {
      const contract = defineJob({ ...job, attempts: 1 });
      return {
        contract,
        handler: handle(
          contract,
          failing(1, () => postpone(5)),
        ),
        input: { id: 1 },
      };
    },
  },
  {
    name: 'a rate limit that refuses it uses up no attempt',
    make() {
      const contract = defineJob({ ...job, attempts: 1 });
      return { contract, handler: handle(contract, failing(1, limited(5))), input: { id: 1 } };
    },
  },
  {
    name: 'a rate limit that refuses it for ever fails the attempt',
    make() {
      const contract = defineJob({ ...job, attempts: 2 });
      return { contract, handler: handle(contract, failing(9, limited(Infinity))), input: { id: 1 } };
    },
  },
  {
    name: 'a timeout aborts the signal and fails the attempt',
    make() {
      const contract = defineJob({ ...job, attempts: 2, timeout: 40 });
      const handler = handle(contract, (_input, { signal }) => {
        return new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason as Error)),
        );
      });
      return { contract, handler, input: { id: 1 } };
    },
  },
  {
    name: 'a timeout counts even if the handler ignores its signal',
    make() {
      const contract = defineJob({ ...job, attempts: 1, timeout: 40 });
      return { contract, handler: handle(contract, () => new Promise(() => undefined)), input: { id: 1 } };
    },
  },
  {
    name: 'work that is finished within the grace counts',
    make() {
      const contract = defineJob({ ...job, timeout: 40 });
      const handler = handle(contract, (_input, { signal }) => {
        return new Promise((resolve) => signal.addEventListener('abort', () => resolve('saved')));
      });
      return { contract, handler, input: { id: 1 } };
    },
  },
  {
    name: 'a result that the output schema refuses fails the attempt',
    make() {
      const contract = defineJob({ ...job, attempts: 2, output: z.object({ total: z.number() }) });
      const handler = handle(contract, () => ({ total: 'seven' }) as never);
      return { contract, handler, input: { id: 1 } };
    },
  },
  {
    name: 'a result without a JSON form fails the attempt',
    make() {
      const contract = defineJob({ ...job, attempts: 2 });
      return { contract, handler: handle(contract, () => 1n), input: { id: 1 } };
    },
  },
  {
    name: 'an input that the handler no longer takes is dead',
    make() {
      const contract = defineJob(job);
      const today = defineJob({ ...job, input: z.object({ id: z.string() }) });
      return { contract, handler: handle(today, () => 'never'), input: { id: 1 } };
    },
  },
  {
    name: 'an older input is upgraded',
    make() {
      const contract = defineJob(job);
      const today = defineJob({ ...job, version: 2, input: z.object({ ids: z.array(z.number()) }) });
      const handler = handle(today, ({ ids }, { job: { version } }) => ({ ids, version }), {
        upgrade: (old, from) => ({ ids: [(old as { id: number }).id, from] }),
      });
      return { contract, handler, input: { id: 9 } };
    },
  },
  {
    name: 'an older input without upgrade() is dead',
    make() {
      const contract = defineJob(job);
      return { contract, handler: handle(defineJob({ ...job, version: 3 }), () => 'never'), input: { id: 1 } };
    },
  },
  {
    name: 'an upgrade() that throws is dead',
    make() {
      const contract = defineJob(job);
      const upgrade = failing(9);
      return {
        contract,
        handler: handle(defineJob({ ...job, version: 3 }), () => 'never', { upgrade }),
        input: { id: 1 },
      };
    },
  },
  {
    name: 'once() runs an effect once over all attempts',
    make() {
      const contract = defineJob(job);
      let effects = 0;
      const handler = handle(contract, async (_input, context) => {
        const { attempt } = context.job;
        const charge = await context.once('charge', () => ({ number: ++effects, at: new Date(0) }));
        if (attempt < 3) throw new Error(`attempt ${attempt}`);
        return { effects, charge };
      });
      return { contract, handler, input: { id: 1 } };
    },
  },
  {
    name: 'once() wants a key',
    make() {
      const contract = defineJob({ ...job, attempts: 1 });
      return { contract, handler: handle(contract, (_input, context) => context.once('', () => 1)), input: { id: 1 } };
    },
  },
  {
    name: 'a bad input of a job that the handler enqueues fails the attempt',
    make() {
      const contract = defineJob({ ...job, attempts: 1 });
      const handler = handle(contract, async (_input, context) => context.enqueue(other, { of: 'x' } as never));
      return { contract, handler, input: { id: 1 } };
    },
  },
];
