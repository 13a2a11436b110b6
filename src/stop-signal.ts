/** How a process is asked to stop. */

/** What counts as one Ctrl-C: a terminal sends it to npm and to this process, and npm passes its own on. */
const SAME_SIGNAL_WITHIN_MS = 300;
/** So often one comes. More, or one of another kind, is somebody who asks again; the times of signals that met a blocked event loop are not known. */
const TIMES = 2;

/**
 * Resolves with the first SIGTERM or SIGINT; a second one ends the process at once, with exit code 1. Two of one kind that came while the
 * event loop was blocked count as one.
 *
 * @example
 * await platform.start();
 * await stopSignal();
 * await platform.stop();
 */
export function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let isRepeat = false;
    let first: NodeJS.Signals | undefined;
    let times = 0;
    const onSignal = (signal: NodeJS.Signals): void => {
      first ??= signal;
      times++;
      if (isRepeat || signal !== first || times > TIMES) process.exit(1);
      resolve(signal);
      setTimeout(() => (isRepeat = true), SAME_SIGNAL_WITHIN_MS).unref();
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
  });
}
