/**
 * Ports of the demo. Jobs of an earlier run, which wait to be tried again, find the warehouse and the mail server where they were; what is taken by
 * another program is somewhere else.
 */
import { once } from 'node:events';
import type { AddressInfo, Server } from 'node:net';

const FIRST = 3_011;
export const PORTS = { warehouse: FIRST, mail: FIRST + 1 } as const;

/** Listens on the port of this machine, or on a free one. @returns which it is */
export async function listenNear(server: Server, port: number): Promise<number> {
  try {
    await once(server.listen(port, '127.0.0.1'), 'listening');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || port === 0) throw error;
    return listenNear(server, 0);
  }
  return (server.address() as AddressInfo).port;
}
