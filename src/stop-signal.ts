/** How a process is asked to stop. */

/** What counts as one Ctrl-C: a terminal sends it to npm and to this process, and npm passes its own on. */
const SAME_SIGNAL_WITHIN_MS = 300;

/**
 * Resolves with the first SIGTERM or SIGINT; a second one ends the process at once, with exit code 1.
 *
 * @example
 * await platform.start();
 * await stopSignal();
 * await platform.stop();
 */
export function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let isRepeat = false;
    const onSignal = (signal: NodeJS.Signals): void => {
      if (isRepeat) process.exit(1);
      resolve(signal);
      setTimeout(() => (isRepeat = true), SAME_SIGNAL_WITHIN_MS).unref();
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
  });
}
