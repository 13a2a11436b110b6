/** `millrace doctor`: a full look at the server that the environment names, or at the embedded one. */
import type { MillraceError, Platform } from '../index.ts';
import { createLogger, createPlatform, formatReport, isMillraceError, readEnv } from '../index.ts';
import type { Command } from './command.ts';
import { jsonOf, note } from './output.ts';
import { progressLine } from './progress.ts';

export const doctor: Command = {
  summary: 'Looks at the Redis server: what it is, what it can do, what is wrong and how to mend it.',
  flags: { json: 'Prints the report as JSON.' },
  exitCodes: { 0: 'healthy (notes do not count)', 1: 'findings, or bad configuration', 2: 'no server, or wrong words' },
  async run({ flags: { json } }) {
    const progress = progressLine();
    let platform: Platform | undefined;
    try {
      const { platform: options } = readEnv();
      // Standard output is the report's.
      const log = createLogger({
        ...options.log,
        format: process.stderr.isTTY ? 'pretty' : 'json',
        level: 'error',
        destination: process.stderr,
      });
      platform = createPlatform({ ...options, log, onProgress: progress.show });
      await platform.start();
      progress.clear();
      const report = await platform.diagnose();
      console.log(json === true ? jsonOf(report, 2) : [...platform.summary(), '', ...formatReport(report)].join('\n'));
      return report.ok ? 0 : 1;
    } catch (error) {
      progress.clear();
      if (!isMillraceError(error)) throw error;
      printError(error, json === true);
      return error.code === 'ENV_INVALID' ? 1 : 2;
    } finally {
      await platform?.stop();
    }
  },
};

function printError(error: MillraceError, json: boolean): void {
  if (json) console.log(jsonOf({ ok: false, error }, 2));
  else note(`millrace doctor: ${error.message} [${error.code}]`);
}
