/** How often servers ran commands, as INFO commandstats tells it. */
import { parseInfo } from '../../src/redis/server-info.ts';
import type { TestServer } from './servers.ts';

/** How often one of the commands was run on any of the servers since they started; `|` parts a sub-command, as in `command|info`. */
export async function commandCount(servers: readonly TestServer[], ...commands: readonly string[]): Promise<number> {
  const counts = await Promise.all(
    servers.map(async (server) => {
      const { fields } = parseInfo(await server.ask((redis) => redis.info('commandstats')));
      return commands.map((command) => Number(/calls=(\d+)/.exec(fields.get(`cmdstat_${command}`) ?? '')?.[1] ?? 0));
    }),
  );
  return counts.flat().reduce((sum, count) => sum + count, 0);
}
