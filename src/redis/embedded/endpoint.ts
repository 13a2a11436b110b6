/** Where a folder's server listens: the same from start to start, so that clients and tools find it again. */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MillraceError } from '../../errors.ts';

const LONGEST_SOCKET_PATH = 100; // The system's limit is 108 bytes on Linux, 104 on macOS.

/** The port of the last start if it is free, else a new one. */
export async function portFor(folder: string): Promise<number> {
  const file = join(folder, 'port');
  const last = Number(await readFile(file, 'utf8').catch(() => ''));
  const isPort = Number.isInteger(last) && last > 0 && last < 65_536;
  const port = (isPort ? await listenable(last) : undefined) ?? (await listenable(0));
  if (port === undefined) throw new MillraceError('SERVER_START_FAILED', 'no loopback port is free', {});
  await writeFile(file, String(port));
  return port;
}

/** In the folder, or, when that path is longer than a socket's may be, in the system's folder for temporary files. */
export function socketPathFor(folder: string): string {
  const path = join(folder, 'redis.sock');
  if (Buffer.byteLength(path) <= LONGEST_SOCKET_PATH) return path;
  return join(tmpdir(), `millrace-${createHash('sha256').update(folder).digest('hex').slice(0, 16)}.sock`);
}

function listenable(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' ? address?.port : undefined));
    });
  });
}
