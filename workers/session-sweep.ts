/**
 * `session.sweep`: looks after sessions on servers whose hash fields have no TTL, Redis before 8.0 and Valkey before 9.
 *
 * There each session is a key, and each user has an index of them (docs/sessions.md, layout `keys`). Two things may be left: entries of sessions
 * that have run out, which are memory; and sessions whose index was evicted, which no `revokeAll` finds. The first are taken out, the second end.
 *
 * Promise: a session that stands in its index is never touched. One run looks at `most` keys and enqueues the next, so that each is short.
 * Redis down: the attempt fails, and begins again where its job did.
 */
import { checkOptions, createConnections, handle, type Connections, type Handler, type RedisOptions } from 'millrace';
import { z } from 'zod';
import { sessionSweep, type SweepResult } from './session/contract.ts';
import { sweepKeys } from './session/sweep-keys.ts';

/** Options of createSessionSweepHandler(). */
export interface SessionSweepOptions {
  /** Where the sessions are: an address, to which each run connects, or a function that gives the connections of a platform. */
  redis: RedisOptions | (() => Pick<Connections, 'commands' | 'capabilities' | 'label'>);
  /** Of the platform. Default `millrace`. */
  prefix?: string | undefined;
  /** As the platform's sessions are kept. Default `auto`: nothing is done on a server that expires fields. */
  layout?: 'auto' | 'keys' | undefined;
  /** How many keys a run looks at, of whatever kind. Default 1,000,000, which take some seconds. */
  most?: number | undefined;
}

type Open = () => Pick<Connections, 'commands' | 'capabilities' | 'label'>;

const optionsSchema = z.strictObject({
  redis: z.custom<SessionSweepOptions['redis']>(
    (value) => typeof value === 'function' || (typeof value === 'object' && value !== null),
    'expected an address, or a function that gives connections',
  ),
  prefix: z
    .string()
    .regex(/^[\w.-]+(?::[\w.-]+)*$/, 'expected the prefix of a platform')
    .default('millrace'),
  layout: z.enum(['auto', 'keys']).default('auto'),
  most: z.int().min(1).default(1_000_000),
});

const NOTHING: SweepResult = { needed: false, scanned: 0, indexes: 0, forgotten: 0, orphans: 0, goesOn: false };

/**
 * The handler of `session.sweep`.
 *
 * @example
 * const sweep = createSessionSweepHandler({ redis: () => platform.redis });
 * await platform.work({ handlers: [sweep], schedules: [schedule(sessionSweep, {}, { every: '1d', missed: 'skip' })] });
 * @throws MillraceError OPTIONS_INVALID
 */
export function createSessionSweepHandler(options: SessionSweepOptions): Handler {
  const { redis, prefix, layout, most } = checkOptions(optionsSchema, options, 'createSessionSweepHandler', ['redis']);
  if (typeof redis !== 'function') createConnections(redis); // Opens nothing: an address that is none is told now.
  return handle(sessionSweep, async ({ cursor }, { enqueue, job, log, progress, signal }) => {
    const own = typeof redis === 'function' ? undefined : createConnections(redis);
    const connections = own ?? (redis as Open)();
    try {
      const { features } = await connections.capabilities();
      if (layout === 'auto' && features.hashFieldSetWithTtl) return NOTHING;
      const { counts, next } = await sweepKeys(
        { redis: connections, prefix },
        { cursor, most, signal, onStep: progress },
      );
      if (next !== undefined) {
        const goesOn = { ...sessionSweep, queue: job.queue };
        // By its key an attempt that comes after this one adds no second one.
        await enqueue(goesOn, { cursor: next }, { idempotencyKey: `after ${job.id}` });
      }
      log.info({ ...counts }, counts.orphans > 0 ? 'sessions without an index have ended' : 'sessions swept');
      return { needed: true, ...counts, goesOn: next !== undefined };
    } finally {
      await own?.close();
    }
  });
}
