/** Listens with an Express app, and lets go of it within a bound. */
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { MillraceError } from '../errors.ts';

/** An app that listens. */
export interface Listener {
  readonly url: string;
  readonly port: number;
  /** Takes no new connection, gives running requests a second to end, and hangs up. Safe to call twice. */
  close(): Promise<void>;
}

const CLOSE_WITHIN_MS = 1_000;

/**
 * Listens on host and port; port 0 takes any free one.
 *
 * @example
 * const listener = await listen(express().use(healthRouter(platform)), { host: '127.0.0.1', port: 3000 });
 * @throws MillraceError PORT_TAKEN, which says what to do.
 */
export async function listen(app: RequestListener, { host, port }: { host: string; port: number }): Promise<Listener> {
  const server = createServer(app);
  try {
    await new Promise<void>((resolve, reject) => {
      // Stays, because an error of a later accept (out of file handles) must not end the process.
      server.on('error', reject);
      server.listen(port, host, resolve);
    });
  } catch (error) {
    throw explain(error as NodeJS.ErrnoException, host, port);
  }
  const bound = server.address() as AddressInfo;
  let closing: Promise<void> | undefined;
  server.on('request', (_request, response) => {
    // Its connection is kept alive and would hold up close() for the whole bound.
    response.once('close', () => closing && server.closeIdleConnections());
  });
  const close = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeIdleConnections();
    const timer = setTimeout(() => server.closeAllConnections(), CLOSE_WITHIN_MS);
    await closed;
    clearTimeout(timer);
  };
  return { url: `http://${hostOf(bound)}:${bound.port}`, port: bound.port, close: () => (closing ??= close()) };
}

/** For people, who open it: `every address` is not one that can be opened. */
function hostOf({ family, address }: AddressInfo): string {
  if (address === '0.0.0.0' || address === '::') return 'localhost';
  return family === 'IPv6' ? `[${address}]` : address;
}

function explain(error: NodeJS.ErrnoException, host: string, port: number): MillraceError {
  const unknownHost = `the host name ${host} is not known. Set HOST to an address of this machine`;
  const reasons: Record<string, string> = {
    EADDRINUSE: `port ${port} on ${host} is taken by another program. Set PORT to a free one, such as PORT=${port === 65_535 ? 3000 : port + 1}`,
    EACCES: `port ${port} may not be listened on by this user. Set PORT to one above 1023`,
    EADDRNOTAVAIL: `${host} is not an address of this machine. Set HOST to one that is, such as 127.0.0.1 or 0.0.0.0`,
    ENOTFOUND: unknownHost,
    EAI_AGAIN: unknownHost,
    ERR_SOCKET_BAD_PORT: `${port} is not a port. Set PORT to one from 1 to 65535, or to 0 for any free one`,
  };
  return new MillraceError(
    'PORT_TAKEN',
    reasons[error.code ?? ''] ?? `cannot listen on ${host}:${port}: ${error.message}`,
    { host, port, cause: error },
  );
}
