/**
 * A worker for `leaderboard.close-season` in a process of its own: `leaderboard-process REDIS PREFIX FOLDER`. It kills itself when the first
 * thousand lines of the standings are written.
 */
import { createPlatform, handle } from '../../src/index.ts';
import { createLeaderboardCloseSeasonHandler } from '../../workers/index.ts';

const [url = '', prefix = '', folder = ''] = process.argv.slice(2);
const platform = createPlatform({ redis: { url }, prefix, log: { level: 'error' } });
const close = createLeaderboardCloseSeasonHandler({ boards: { game: {} }, folder });
const die = (): void => void process.kill(process.pid, 'SIGKILL');
await platform.start();
await platform.work({
  lease: '1s',
  stalledCheck: '500ms',
  handlers: [
    handle(close.contract, (input, context) =>
      close.run(
        input,
        new Proxy(context, { get: (all, name) => (name === 'progress' ? die : Reflect.get(all, name, all)) }),
      ),
    ),
  ],
});
console.log('ready');
