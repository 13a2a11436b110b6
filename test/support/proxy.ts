/** A TCP proxy between a client and a server that a test can break: lose answers, freeze, cut. */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export interface Proxy {
  readonly port: number;
  readonly url: string;
  /** From now on the server's answers are dropped, while requests still arrive. */
  loseAnswers(): void;
  /** From now on nothing passes in either direction; connections stay open. */
  freeze(): void;
  /** Everything passes again, for new connections. */
  restore(): void;
  /** From now on each answer comes that much later. */
  slowDown(ms: number): void;
  /** New connections go to another server on this machine. */
  leadTo(port: number): void;
  /** Cuts every connection that is open now. */
  cut(): void;
  stop(): Promise<void>;
}

export async function startProxy(targetPort: number): Promise<Proxy> {
  let target = targetPort;
  let delayMs = 0;
  let mode: 'pass' | 'lose-answers' | 'freeze' = 'pass';
  const sockets = new Set<Socket>();
  const track = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    return socket;
  };
  const server = createServer((client) => {
    const upstream = track(connect(target, '127.0.0.1'));
    track(client);
    client.on('data', (data) => mode !== 'freeze' && upstream.write(data));
    upstream.on('data', (data) => {
      if (mode !== 'pass') return;
      if (delayMs === 0) client.write(data);
      else setTimeout(() => client.write(data), delayMs);
    });
    client.once('close', () => upstream.destroy());
    upstream.once('close', () => client.destroy());
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    loseAnswers: () => (mode = 'lose-answers'),
    freeze: () => (mode = 'freeze'),
    restore: () => (mode = 'pass'),
    slowDown: (ms) => (delayMs = ms),
    leadTo: (newTarget) => (target = newTarget),
    cut,
    async stop() {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
