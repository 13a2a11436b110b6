/** `millrace dashboard`: the operator's web app, until Ctrl-C. */
import { readEnv } from '../index.ts';
import type { Command } from './command.ts';
import { loadDashboard } from './dashboard-package.ts';
import { progressLine } from './progress.ts';
import { withPlatform } from './with-platform.ts';

export const dashboard: Command = {
  summary: 'Runs the dashboard: queues, dead letters, jobs, streams, workers, for those who may sign in.',
  flags: { link: 'Prints a link that signs in as admin once, where no users are set up, and ends.' },
  exitCodes: { 0: 'stopped by Ctrl-C or SIGTERM, or the link was printed', 1: 'could not start', 2: 'wrong words' },
  async run({ flags: { link } }) {
    const configuration = readEnv();
    const { runDashboard, dashboardLink } = await loadDashboard();
    if (link === true) {
      console.log(await withPlatform((platform) => dashboardLink(platform, configuration)));
      return 0;
    }
    const progress = progressLine();
    const say = (lines: readonly string[]): void => {
      progress.clear();
      console.log(lines.join('\n'));
    };
    try {
      return await runDashboard(configuration, { say, onProgress: progress.show });
    } finally {
      progress.clear();
    }
  },
};
