/** A real HTTP server that receives webhooks and answers as the test says. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

/** A request that came. */
export interface Received {
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
  /** By this process's steady clock. */
  at: number;
}

export interface Receiver {
  readonly url: string;
  readonly port: number;
  readonly received: Received[];
  /** What each request is answered, the first one first; the last one stays. */
  answers: Array<(response: ServerResponse) => void>;
  stop(): Promise<void>;
}

/** An answer with a status. */
export function says(
  status: number,
  headers: Record<string, string> = {},
  body = '',
): (response: ServerResponse) => void {
  return (response) => response.writeHead(status, headers).end(body);
}

/** Starts one on a loopback address. */
export async function startReceiver(host = '127.0.0.1'): Promise<Receiver> {
  const received: Received[] = [];
  const server = createServer((request, response) => {
    void (async () => {
      const body = await text(request);
      const { answers } = receiver;
      const answer = answers[Math.min(received.length, answers.length - 1)];
      received.push({ path: request.url ?? '', headers: request.headers, body, at: performance.now() });
      answer?.(response);
    })();
  });
  await once(server.listen(0, host), 'listening');
  const { port } = server.address() as AddressInfo;
  const receiver: Receiver = {
    url: `http://${host}:${port}`,
    port,
    received,
    answers: [says(200)],
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return receiver;
}
