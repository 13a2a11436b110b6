/** Asks a server whether it is there, before any client exists. */
import { connect } from 'node:net';

/** Where a server is asked. */
export type PingTarget = { socketPath: string } | { host: string; port: number };

/** `none` when nobody answers; `loading` while the server reads its data; `ready` also where it wants a password, or its disk is full. */
export type PingAnswer = 'none' | 'loading' | 'ready';

const ANSWER_WITHIN_MS = 1_000;

/** What the server answers to PING. */
export function ping(target: PingTarget): Promise<PingAnswer> {
  return new Promise((resolve) => {
    const socket = 'socketPath' in target ? connect({ path: target.socketPath }) : connect(target);
    const done = (reply: string): void => {
      socket.destroy();
      resolve(reply.startsWith('-LOADING') ? 'loading' : /^[+-]/.test(reply) ? 'ready' : 'none');
    };
    socket.setTimeout(ANSWER_WITHIN_MS, () => done(''));
    socket.once('error', () => done(''));
    socket.once('close', () => done(''));
    socket.once('data', (data) => done(data.toString('latin1')));
    socket.write('PING\r\n');
  });
}
