/** Long lists: read in pages, several of them at once, and no longer than a signal allows. */

/** A list, or what gives it bit by bit. */
export type Source<T> = Iterable<T> | AsyncIterable<T>;

/** The items until the signal aborts; then its reason is thrown, also while the source is being waited for. */
export async function* untilAborted<T>(source: Source<T>, signal: AbortSignal): AsyncGenerator<T, void, undefined> {
  const iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  let giveUp: ((reason: unknown) => void) | undefined;
  signal.addEventListener('abort', () => giveUp?.(signal.reason), { once: true });
  let isAtEnd = false;
  try {
    for (;;) {
      signal.throwIfAborted();
      // Not a race with one promise for all items: it would remember each of them.
      const next = await new Promise<IteratorResult<T>>((resolve, reject) => {
        giveUp = reject;
        Promise.resolve(iterator.next()).then(resolve, reject);
      });
      isAtEnd = next.done === true;
      if (next.done) return;
      yield next.value;
    }
  } finally {
    // Not waited for: a source that hangs does not hear it.
    if (!isAtEnd) void Promise.resolve(iterator.return?.()).catch(() => undefined);
  }
}

/** The items, so many together. */
export async function* pagesOf<T>(source: AsyncIterable<T>, size: number): AsyncGenerator<T[], void, undefined> {
  let page: T[] = [];
  for await (const item of source) {
    page.push(item);
    if (page.length < size) continue;
    yield page;
    page = [];
  }
  if (page.length > 0) yield page;
}

/** Does the work for each item, for so many at once. The first failure is thrown once those that were begun have ended; none is begun after it. */
export async function forEachOf<T>(
  source: AsyncGenerator<T, void, undefined>,
  concurrency: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const failures: unknown[] = [];
  const worker = async (): Promise<void> => {
    try {
      while (failures.length === 0) {
        const next = await source.next();
        if (next.done || failures.length > 0) return;
        await work(next.value);
      }
    } catch (error) {
      failures.push(error);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  await source.return();
  if (failures.length > 0) throw failures[0];
}
