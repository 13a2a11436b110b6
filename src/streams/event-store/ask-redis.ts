/** A plain command or several, whose failure is told as a MillraceError. */
import type { RedisClient } from '../../redis/clients.ts';
import type { Connections } from '../../redis/connect.ts';
import { explainRedisError } from '../../redis/explain.ts';

/** @throws MillraceError */
export async function askRedis<T>(
  connections: Pick<Connections, 'commands' | 'label'>,
  question: (client: RedisClient) => Promise<T>,
): Promise<T> {
  try {
    return await question(connections.commands());
  } catch (error) {
    throw explainRedisError(error, connections.label);
  }
}
