import { Agent, get, type IncomingMessage, type RequestListener } from 'node:http';
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { listen, type Listener } from '../../src/http/index.ts';
import { freePort } from '../support/servers.ts';

const here = { host: '127.0.0.1', port: 0 };
const hello: RequestListener = (_request, response) => void response.end('hello');

async function ask(listener: Listener, agent?: Agent): Promise<string> {
  const [response] = (await once(get(listener.url, { agent: agent ?? false }), 'response')) as [IncomingMessage];
  const pieces: Buffer[] = [];
  for await (const piece of response) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString();
}

/** A connection that is open and on which nothing has been asked. */
async function openConnection({ port }: Listener): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

async function msUntil(act: Promise<unknown>): Promise<number> {
  const start = performance.now();
  await act;
  return performance.now() - start;
}

describe('listening', () => {
  test('answers at the url that it tells, on a port of its own with port 0', async () => {
    const listener = await listen(hello, here);
    expect(listener.port).toBeGreaterThan(0);
    expect(listener.url).toBe(`http://127.0.0.1:${listener.port}`);
    expect(await ask(listener)).toBe('hello');
    await listener.close();
  });

  test('on every address, tells a url that can be opened', async () => {
    const listener = await listen(hello, { host: '0.0.0.0', port: 0 });
    expect(listener.url).toBe(`http://localhost:${listener.port}`);
    await listener.close();
  });

  test('a taken port is PORT_TAKEN, and names PORT and the next one', async () => {
    const first = await listen(hello, here);
    await expect(listen(hello, { ...here, port: first.port })).rejects.toMatchObject({
      code: 'PORT_TAKEN',
      message: `port ${first.port} on 127.0.0.1 is taken by another program. Set PORT to a free one, such as PORT=${first.port === 65_535 ? 3000 : first.port + 1}`,
      facts: { host: '127.0.0.1', port: first.port },
      cause: { code: 'EADDRINUSE' },
    });
    await first.close();
  });

  test('an address of another machine is refused, and HOST is named', async () => {
    await expect(listen(hello, { host: '192.0.2.1', port: 0 })).rejects.toMatchObject({
      code: 'PORT_TAKEN',
      message: '192.0.2.1 is not an address of this machine. Set HOST to one that is, such as 127.0.0.1 or 0.0.0.0',
    });
  });

  test('an unknown host name is refused, and HOST is named', async () => {
    await expect(listen(hello, { host: 'no-such-host.invalid', port: 0 })).rejects.toMatchObject({
      code: 'PORT_TAKEN',
      message: 'the host name no-such-host.invalid is not known. Set HOST to an address of this machine',
    });
  });

  test.each([-1, 65_536, Number.NaN])('port %d is refused, and PORT is named', async (port) => {
    await expect(listen(hello, { ...here, port })).rejects.toMatchObject({
      code: 'PORT_TAKEN',
      message: `${port} is not a port. Set PORT to one from 1 to 65535, or to 0 for any free one`,
    });
  });
});

describe('closing', () => {
  test('frees the port', async () => {
    const port = await freePort();
    for (let round = 0; round < 3; round++) {
      const listener = await listen(hello, { ...here, port });
      expect(listener.port).toBe(port);
      await listener.close();
    }
  });

  test('can be asked for twice, at once or later', async () => {
    const listener = await listen(hello, here);
    await Promise.all([listener.close(), listener.close()]);
    expect(await listener.close()).toBeUndefined();
  });

  test('does not wait for connections that are kept alive', async () => {
    const listener = await listen(hello, here);
    const agent = new Agent({ keepAlive: true });
    await ask(listener, agent);
    expect(await msUntil(listener.close())).toBeLessThan(900);
    agent.destroy();
  });

  test('lets a running request end, and then does not wait', async () => {
    let answer!: () => void;
    let arrived!: () => void;
    const asked = new Promise<void>((resolve) => (arrived = resolve));
    const listener = await listen((_request, response) => {
      answer = () => response.end('late hello');
      arrived();
    }, here);
    const agent = new Agent({ keepAlive: true });
    const reply = ask(listener, agent);
    await asked;
    const closing = listener.close();
    answer();
    expect(await reply).toBe('late hello');
    expect(await msUntil(closing)).toBeLessThan(900);
    agent.destroy();
  });

  test('hangs up on a request that does not end, and on a connection that says nothing, within its bound', async () => {
    let arrived!: () => void;
    const asked = new Promise<void>((resolve) => (arrived = resolve));
    const listener = await listen(() => arrived(), here);
    const silent = await openConnection(listener);
    const reply = ask(listener).catch((error: NodeJS.ErrnoException) => error.code);
    await asked;
    expect(await msUntil(listener.close())).toBeLessThan(2_500);
    expect(await reply).toBe('ECONNRESET');
    silent.destroy();
  });

  test('takes no new connection', async () => {
    const listener = await listen(hello, here);
    await listener.close();
    await expect(ask(listener)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});
