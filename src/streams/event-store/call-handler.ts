/** One call of a user's handler: bounded in time, ended by a signal, and never left unhandled. */
import { withDeadline } from '../../clock.ts';
import { formatMs } from '../../durations.ts';
import { MillraceError } from '../../errors.ts';

/** How long a call may take, and what ends it before. */
export interface CallLimits {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** For the message, such as `subscription mailer: event 3 of order-42`. */
  readonly what: string;
}

/**
 * What the handler gives. At its deadline, or when the signal aborts, the handler's own signal aborts and it is not waited for any longer.
 *
 * @throws what the handler throws; the signal's reason; MillraceError EVENT_TIMEOUT
 */
export async function callHandler<T>(
  call: (signal: AbortSignal) => Promise<T> | T,
  { timeoutMs, signal, what }: CallLimits,
): Promise<T> {
  signal.throwIfAborted();
  const controller = new AbortController();
  let giveUp: (() => void) | undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    giveUp = () => {
      controller.abort(signal.reason);
      reject(signal.reason as Error);
    };
  });
  const abort = (): void => giveUp?.();
  signal.addEventListener('abort', abort, { once: true });
  const running = (async () => call(controller.signal))();
  try {
    return await withDeadline(Promise.race([running, aborted]), timeoutMs, () => {
      const late = new MillraceError('EVENT_TIMEOUT', `${what}: no end after ${formatMs(timeoutMs)}`, { timeoutMs });
      controller.abort(late);
      return late;
    });
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
