/** Who is connected to a server, as CLIENT LIST tells it. */
import type { TestServer } from './servers.ts';

export interface ConnectedClient {
  name: string;
  user: string;
  database: string;
  protocol: string;
}

/** All clients but the one that asks, the oldest first. */
export async function clientsOf(server: TestServer): Promise<ConnectedClient[]> {
  const [list, own] = await server.ask(
    async (redis) => [(await redis.client('LIST')) as string, await redis.client('ID')] as const,
  );
  return list
    .trim()
    .split('\n')
    .map((line) => new Map(line.split(' ').map((field) => field.split('=', 2) as [string, string])))
    .filter((fields) => fields.get('id') !== String(own))
    .map((fields) => ({
      name: fields.get('name') ?? '',
      user: fields.get('user') ?? '',
      database: fields.get('db') ?? '',
      protocol: fields.get('resp') ?? '',
    }));
}
