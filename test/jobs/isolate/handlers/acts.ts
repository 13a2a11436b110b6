/** An isolated handler that does what its input says. */
import { threadId } from 'node:worker_threads';
import { handle, postpone, unrecoverable, type JobContext } from '../../../../src/jobs/handler.ts';
import { MillraceError } from '../../../../src/errors.ts';
import { act, follow } from './contracts.ts';

const never = (): Promise<never> => new Promise(() => undefined);
const aborted = (signal: AbortSignal): Promise<unknown> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(signal.reason), { once: true }));

const slowly = (): Promise<unknown> => new Promise((resolve) => setTimeout(() => resolve('late'), 1_000));

let lateOutcome = 'nothing yet' as string;

/** @throws the value itself, whatever it is. */
function toss(value: unknown): never {
  throw value;
}

function told(reason: unknown): unknown {
  if (!(reason instanceof MillraceError)) return `no MillraceError: ${String(reason)}`;
  return { code: reason.code, message: reason.message, facts: reason.facts };
}

class Money {
  readonly #cents = 1_250;
  toJSON(): string {
    return `${this.#cents / 100} EUR`;
  }
}

class QuotaExceeded extends Error {
  readonly status = 429;
  readonly helper = (): void => undefined;
}

const THROWS: Record<string, () => unknown> = {
  rich: () =>
    Object.assign(new TypeError('rich'), { code: 'E_RICH', cause: new RangeError('poor', { cause: 'text' }) }),
  custom: () => new QuotaExceeded('too many'),
  text: () => 'just text',
  nothing: () => undefined,
  symbol: () => Symbol('odd'),
  function: () => () => 'odd',
  object: () => ({ message: 'like an error', deep: { er: () => 1 } }),
  aggregate: () => new AggregateError([new Error('one'), new TypeError('two')], 'both'),
  ring: () => {
    const error = new Error('ring');
    error.cause = error;
    return error;
  },
  proxy: () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  },
  unrecoverable: () => unrecoverable(new Error('gone for good')),
};

const RESULTS: Record<string, () => unknown> = {
  big: () => ({ text: 'x'.repeat(5_000_000) }),
  function: () => ({ deep: [() => 1] }),
  classes: () => ({ price: new Money(), bytes: Buffer.from('ab'), at: new Date(0), list: [new Money()], nan: null }),
  nothing: () => undefined,
};

const ACTS: Record<string, (context: JobContext, detail: unknown) => unknown> = {
  thread: () => threadId,
  facts: ({ job, signal }) => ({ job, isSignal: signal instanceof AbortSignal && !signal.aborted }),
  tell: ({ log, progress }) => {
    log.info({ n: 1, helper: () => 1, err: new TypeError('bad') }, 'fields');
    log.warn('text only');
    log.error(new RangeError('an error alone'));
    log.debug('not kept');
    for (let n = 0; n <= 100_000; n++) progress(n);
    progress({ done: true });
  },
  once: async ({ once, job }) => {
    const first = await once('paid', () => ({ by: job.attempt }));
    const nothing = await once('nothing', () => undefined);
    if (job.attempt === 1) throw new Error('after the effect');
    return { first, isNothing: nothing === undefined };
  },
  'once-fails': async ({ once }) => {
    const error = new TypeError('the effect failed');
    const caught: unknown = await once('failing', () => toss(error)).catch((thrown: unknown) => thrown);
    return caught === error;
  },
  'once-unstorable': async ({ once, log }) => {
    await once('paid', () => {
      log.info('paid');
      return 10n;
    });
  },
  'once-slowly': async ({ once, progress, log }) => {
    progress(1);
    log.warn(JSON.stringify(await once('slow', slowly).catch(told)));
  },
  enqueue: async ({ enqueue }) => {
    const first = await enqueue(follow, { n: 7 }, { delay: '1h' });
    const second = await enqueue(follow, { n: 7 }, { delay: '1h' });
    const refused: unknown = await enqueue(follow, { n: 'seven' } as never).catch(told);
    const unknownOption: unknown = await enqueue(follow, { n: 8 }, { dely: 5 } as never).catch(told);
    return { first, second, refused, unknownOption };
  },
  children: ({ children }) => children(),
  cache: (context) => (context as unknown as { cache: unknown }).cache,
  spin: () => {
    for (;;);
  },
  'spin-politely': ({ signal, progress }) => {
    progress(1);
    while (!signal.aborted);
    return told(signal.reason);
  },
  'spin-until-thrown': ({ signal }) => {
    for (;;) signal.throwIfAborted();
  },
  'await-abort': async ({ signal, progress }) => {
    progress(1);
    return told(await aborted(signal));
  },
  'ignore-abort': ({ progress }) => {
    progress(1);
    return never();
  },
  exit: () => process.exit(3),
  uncaught: () => {
    setTimeout(() => toss(new TypeError('loose')), 1);
    return never();
  },
  memory: () => {
    const kept: unknown[] = [];
    for (;;) kept.push(Array.from({ length: 1_000 }, (_item, index) => ({ index })));
  },
  throw: (_context, kind) => toss(THROWS[String(kind)]?.()),
  postpone: ({ job }) => (job.waitedMs < 150 ? toss(postpone(150, 'not yet')) : job.attempt),
  result: (_context, kind) => RESULTS[String(kind)]?.(),
  late: ({ enqueue, job }) => {
    setTimeout(() => {
      enqueue(follow, { n: 9 }).then(
        () => (lateOutcome = 'enqueued'),
        (error: unknown) => (lateOutcome = (error as MillraceError).code),
      );
    }, 1);
    return job.id;
  },
  'late-outcome': () => lateOutcome,
};

// eslint-disable-next-line import/no-default-export -- what `isolate` asks for.
export default handle(
  act,
  (input, context) => {
    const perform = ACTS[input.act];
    if (!perform) throw new Error(`there is no act ${input.act}`);
    return perform(context, input.with);
  },
  { isolate: import.meta.url },
);
