/** A promise that a test resolves when it likes, to hold a handler where it is. */

export interface Gate<T> {
  readonly opened: Promise<T>;
  open(this: void, value: T): void;
}

/**
 * A gate that is closed.
 *
 * @example
 * const { opened, open } = gate();
 * work({ handlers: [handle(contract, () => opened)] });
 * open();
 */
export function gate<T = void>(): Gate<T> {
  let resolveOpened: ((value: T) => void) | undefined;
  const opened = new Promise<T>((resolve) => {
    resolveOpened = resolve;
  });
  return { opened, open: (value) => resolveOpened?.(value) };
}

/** Rejects with the reason of the signal once it aborts, as a handler does that obeys. */
export function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
}

/** What a handler returns that never ends. */
export function never(): Promise<never> {
  return new Promise(() => undefined);
}
