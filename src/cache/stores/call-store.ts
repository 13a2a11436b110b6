/** One call of a user's store: bounded in time, ended by a signal, and never left unhandled. */
import { withDeadline } from '../../clock.ts';
import { formatMs } from '../../durations.ts';
import { MillraceError } from '../../errors.ts';

/** How long a call may take, and what ends it before. */
export interface CallLimits {
  timeoutMs: number;
  signal: AbortSignal | undefined;
  /** For the message, such as `save of store orders`. */
  what: string;
}

/**
 * What the call gives. At its deadline, or when the signal aborts, the call's own signal aborts and it is not waited for any longer;
 * whether it still has its effect is unknown then.
 *
 * @throws what the call throws; the signal's reason; MillraceError CACHE_SAVE_TIMEOUT
 */
export async function callStore<T>(
  call: (signal: AbortSignal) => Promise<T> | T,
  { timeoutMs, signal, what }: CallLimits,
): Promise<T> {
  signal?.throwIfAborted();
  const controller = new AbortController();
  let giveUp: (() => void) | undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    giveUp = () => {
      controller.abort(signal?.reason);
      reject(signal?.reason as Error);
    };
  });
  const abort = (): void => giveUp?.();
  signal?.addEventListener('abort', abort, { once: true });
  const running = (async () => call(controller.signal))();
  try {
    return await withDeadline(Promise.race([running, aborted]), timeoutMs, () => {
      const late = new MillraceError('CACHE_SAVE_TIMEOUT', `${what}: no end after ${formatMs(timeoutMs)}`, {
        timeoutMs,
      });
      controller.abort(late);
      return late;
    });
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}
