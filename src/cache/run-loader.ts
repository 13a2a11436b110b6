/**
 * Runs a loader: within its time, with a signal, and with what it may say about the value while it loads.
 */
import type { Clock } from '../clock.ts';
import { formatMs, type Duration } from '../durations.ts';
import { MillraceError } from '../errors.ts';

/** What a loader is given. It may be taken apart. */
export interface LoadContext<T = unknown> {
  /** Aborts at the hard timeout, and when the cache stops. Pass it on to everything that the loader waits for. */
  readonly signal: AbortSignal;
  readonly key: string;
  /** The value that is there, past its TTL or near it; undefined when there is none. Not to be changed. */
  readonly stale: T | undefined;
  /**
   * Adds tags that are known only now. Resolves once an invalidation of them wins over this load; one that came before, while the load
   * was under way, is not noticed, so name what is known beforehand in the options. Does not reject.
   */
  tags(this: void, ...names: string[]): Promise<void>;
  /** Keeps this value so long, in the place of the option: a duration, or a tier's name. */
  ttl(this: void, ttl: Duration | (string & {})): void;
}

/** Gives the value of a key. Null and undefined are "nothing"; 0, '' and false are values. */
export type Loader<T> = (context: LoadContext<T>) => T | Promise<T>;

/** What a load is run with. */
export interface LoadRun {
  readonly key: string;
  readonly loader: Loader<unknown>;
  readonly stale: unknown;
  readonly hardMs: number;
  readonly clock: Clock;
  /** Loads that can be aborted by a stop. */
  readonly running: Set<AbortController>;
  readonly onTags: (names: readonly string[]) => Promise<void>;
  readonly readTtl: (ttl: unknown) => number;
}

/** What came of it. */
export interface Loaded {
  readonly value: unknown;
  readonly deltaMs: number;
  /** What the loader said it should be. */
  readonly ttlMs: number | undefined;
}

/**
 * Calls the loader once.
 *
 * @throws what it throws; MillraceError CACHE_LOAD_TIMEOUT when it takes too long, after which what it gives is dropped.
 */
export async function runLoader(run: LoadRun): Promise<Loaded> {
  const { key, loader, hardMs, clock, running } = run;
  const controller = new AbortController();
  running.add(controller);
  let ttlMs: number | undefined;
  const startMs = clock.monotonicMs();
  const timer = setTimeout(() => {
    const message = `the load of ${key} took longer than ${formatMs(hardMs)}`;
    controller.abort(new MillraceError('CACHE_LOAD_TIMEOUT', message, { key, hardMs }));
  }, hardMs);
  try {
    const aborted = new Promise<never>((_resolve, reject) => {
      controller.signal.addEventListener('abort', () => reject(controller.signal.reason as Error), { once: true });
    });
    const loading = callLoader(loader, {
      key,
      signal: controller.signal,
      stale: run.stale,
      tags: (...names) => run.onTags(names),
      ttl: (ttl) => {
        ttlMs = run.readTtl(ttl);
      },
    });
    const value = await Promise.race([loading, aborted]);
    return { value, deltaMs: clock.monotonicMs() - startMs, ttlMs };
  } finally {
    clearTimeout(timer);
    running.delete(controller);
  }
}

/** A loader that throws before its first await fails like one that throws later. */
async function callLoader(loader: Loader<unknown>, context: LoadContext): Promise<unknown> {
  return loader(context);
}
