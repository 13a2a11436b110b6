/** `millrace top`: queues and workers, looked at each second, until q or Ctrl-C. */
import { createTopLooks } from './top-look.ts';
import { frameOf } from './top-frame.ts';
import { showLive } from './top-screen.ts';
import { CommandError, type Command } from './command.ts';
import { say, terminalColumns } from './output.ts';
import { JSON_FLAG } from './read-flags.ts';
import { withPlatform } from './with-platform.ts';

export const top: Command = {
  summary: 'Shows queues with their rates, and workers, refreshed each second; q ends it.',
  flags: { once: 'Prints one frame and ends, for scripts.', ...JSON_FLAG },
  exitCodes: { 0: 'ended by q, Ctrl-C or SIGTERM, or printed', 1: 'failed', 2: 'wrong words, or there is no terminal' },
  run({ flags }) {
    const { stdout: output, stdin: input } = process;
    const isOnce = flags['once'] === true || flags['json'] === true;
    if (!isOnce && !(output.isTTY && input.isTTY))
      throw new CommandError('there is no terminal to draw on; --once prints one frame', { exitCode: 2 });
    return withPlatform(async (platform) => {
      const look = createTopLooks(platform);
      if (!isOnce) {
        await showLive(look, { input, output });
        return 0;
      }
      return say(flags['json'], await look(), (seen) => frameOf(seen, { columns: terminalColumns() }));
    });
  },
};
