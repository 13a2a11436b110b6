/** Long work that Ctrl-C ends between two steps, so that what was done by then can be told. */
import { stopSignal } from '../index.ts';

/** Runs `work` with a signal that Ctrl-C and SIGTERM abort; a second one ends the process. */
export async function untilCtrlC<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  void stopSignal().then((name) => stop.abort(name));
  return work(stop.signal);
}
