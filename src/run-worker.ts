/**
 * A worker process from its start to its exit code.
 *
 *   start --> work --SIGTERM or SIGINT--> drain, within `drainFor` --> 0
 *               |--silent, and rebuilding did not help--> drain ------> 1
 *
 * A second signal ends it at once, with 1. What cannot be started is thrown.
 */
import type { Platform } from './platform.ts';
import { stopSignal } from './stop-signal.ts';
import type { WorkOptions } from './worker.ts';

/**
 * Runs jobs and consumers until this process is told to stop. End the process with what it returns: a handler that ignores its signal goes on
 * after its job was handed back, and with `process.exitCode` alone it would keep the process beyond `drainFor`.
 *
 * @example
 * const platform = createPlatform(readEnv().platform);
 * process.exit(await runWorker(platform, { handlers: [sendEmail, renderReport] }));
 * @returns the exit code.
 */
export async function runWorker(platform: Platform, options: WorkOptions): Promise<number> {
  const stopped = stopSignal();
  await platform.start();
  try {
    const silence = new AbortController();
    const silent = new Promise<string>((resolve) => {
      silence.signal.addEventListener('abort', () => resolve(String(silence.signal.reason)));
    });
    await platform.work({
      ...options,
      onSilent: (reason) => {
        options.onSilent?.(reason);
        silence.abort(reason);
      },
    });
    const end = await Promise.race([
      stopped.then((signal) => ({ signal, code: 0 })),
      silent.then((reason) => ({ reason, code: 1 })),
    ]);
    if ('reason' in end) platform.log.fatal({ reason: end.reason }, 'the worker is silent; this process ends');
    else platform.log.info({ signal: end.signal }, 'stopping');
    return end.code;
  } finally {
    await platform.stop();
  }
}
