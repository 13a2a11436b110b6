/** A TCP proxy between a client and a server that a test can break: lose answers, freeze, cut. */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export interface Proxy {
  readonly port: number;
  readonly url: string;
  /** How many connections were made to it until now. */
  readonly accepted: number;
  /** From now on the server's answers are dropped, while requests still arrive. */
  loseAnswers(): void;
  /** From now on nothing passes in either direction; connections stay open. */
  freeze(): void;
  /** Of the server's answers each new connection gets so many bytes, and nothing after them; it stays open. */
  fallSilentAfter(bytes: number): void;
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
  let accepted = 0;
  let bytesToNew = Infinity;
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
    accepted++;
    let bytesLeft = bytesToNew;
    client.on('data', (data) => mode !== 'freeze' && upstream.write(data));
    upstream.on('data', (answer) => {
      if (mode !== 'pass' || bytesLeft === 0) return;
      const data = answer.subarray(0, bytesLeft);
      bytesLeft -= data.length;
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
    get accepted() {
      return accepted;
    },
    loseAnswers: () => (mode = 'lose-answers'),
    freeze: () => (mode = 'freeze'),
    fallSilentAfter: (bytes) => (bytesToNew = bytes),
    restore() {
      mode = 'pass';
      bytesToNew = Infinity;
    },
    slowDown: (ms) => (delayMs = ms),
    leadTo: (newTarget) => (target = newTarget),
    cut,
    async stop() {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
