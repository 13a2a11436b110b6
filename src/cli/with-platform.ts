/** A platform for a command that asks one thing and ends: its lines go to standard error, standard output is the answer's. */
import { createLogger, createPlatform, readEnv, type Platform } from '../index.ts';
import { progressLine } from './progress.ts';

/** Runs `use` with a platform that is stopped after it, whatever happens. */
export async function withPlatform<T>(use: (platform: Platform) => Promise<T>): Promise<T> {
  const { platform: options } = readEnv();
  const log = createLogger({
    ...options.log,
    format: process.stderr.isTTY ? 'pretty' : 'json',
    level: 'error',
    destination: process.stderr,
  });
  const progress = progressLine();
  const platform = createPlatform({ ...options, log, onProgress: progress.show });
  try {
    await platform.start();
    progress.clear();
    return await use(platform);
  } finally {
    progress.clear();
    await platform.stop();
  }
}
