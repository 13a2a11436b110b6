/** A warehouse on this machine that receives webhooks: it checks the signature, and has its bad days. */
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { listenNear, PORTS } from './ports.ts';

export interface WarehouseServer {
  /** Where orders are told of. `/closed` below it is a branch that is there no more. */
  readonly url: string;
  /** As the shop's settings take it. */
  readonly secret: string;
  /** How many webhooks it took. */
  readonly received: number;
  stop(): Promise<void>;
}

const SLOW_MS = 2_000;
/** The same in each run, and of this machine alone: no secret. */
const KEY = Buffer.from('the secret of the demo, for 127.0.0.1');

export async function startWarehouse(): Promise<WarehouseServer> {
  let received = 0;
  const server = createServer((request, response) => {
    void (async () => {
      const { 'webhook-id': id, 'webhook-timestamp': time, 'webhook-signature': given } = request.headers;
      const expected = createHmac('sha256', KEY)
        .update([id, time, await text(request)].join('.'))
        .digest('base64');
      const status = given === `v1,${expected}` ? moodOf(request.url) : 401;
      if (status === 204) received++;
      const answer = (): unknown => response.writeHead(status).end();
      if (Math.random() < 0.05) setTimeout(answer, SLOW_MS).unref();
      else answer();
    })().catch(() => response.destroy()); // The client has hung up.
  });
  const port = await listenNear(server, PORTS.warehouse);
  return {
    url: `http://127.0.0.1:${port}/orders`,
    secret: `whsec_${KEY.toString('base64')}`,
    get received() {
      return received;
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function moodOf(path: string | undefined): number {
  if (path?.endsWith('/closed')) return 410;
  return Math.random() < 0.05 ? 500 : 204;
}
