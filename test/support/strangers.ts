/** Listeners that are no Redis: what an address with a wrong port leads to. */
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http';
import type { Server } from 'node:net';

export interface Stranger {
  readonly url: string;
  readonly port: number;
  /** How many connections it has had. */
  readonly visits: number;
  stop(): Promise<void>;
}

/** Accepts connections, says the greeting if there is one, and never answers. */
export function startStranger(greeting = ''): Promise<Stranger> {
  return listen(
    createServer((socket) => {
      if (greeting !== '') socket.write(greeting);
    }),
  );
}

/** A web server that answers every request with a page. */
export function startWebServer(): Promise<Stranger> {
  return listen(createHttpServer((_request, response) => response.end('<h1>hello</h1>')));
}

async function listen(server: Server | HttpServer): Promise<Stranger> {
  const sockets = new Set<Socket>();
  let visits = 0;
  server.on('connection', (socket: Socket) => {
    visits++;
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    get visits() {
      return visits;
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
