/** Notifications as server-sent events: what a browser's EventSource reads, and comes back to by itself with `Last-Event-ID`. */
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { systemClock, toMs, type Duration, type Platform } from 'millrace';
import { attend } from './attend.ts';

/** Options of serveNotifications(). */
export interface ServeNotificationsOptions {
  /** How often something is sent where there is nothing to say, so that nobody on the way hangs up. Default `15s`. */
  heartbeat?: Duration | undefined;
}

/**
 * Answers a request with the notifications of a user until it is closed: an event of each one's type, its data as JSON. The event `gap` says
 * that some were missed and are kept no more. A browser that reads slowly holds up nobody else.
 *
 * @example
 * app.get('/notifications', (request, response, next) => {
 *   serveNotifications(platform, userOf(request), request, response).catch(next);
 * });
 * @throws MillraceError REDIS_* before anything was sent
 */
export async function serveNotifications(
  platform: Pick<Platform, 'pubsub' | 'presence'>,
  userId: string,
  request: IncomingMessage,
  response: ServerResponse,
  { heartbeat = '15s' }: ServeNotificationsOptions = {},
): Promise<void> {
  const closed = new AbortController();
  response.once('close', () => closed.abort());
  if (response.destroyed) closed.abort(); // Who has hung up before is told of by no event.
  const { signal } = closed;
  const send = async (text: string): Promise<void> => {
    if (!signal.aborted && !response.write(text)) await once(response, 'drain', { signal }).catch(() => undefined);
  };
  const begin = (): void => {
    if (response.headersSent) return;
    response.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      // Proxies of the nginx kind would gather events.
      'x-accel-buffering': 'no',
    });
    response.flushHeaders();
  };
  const last = request.headers['last-event-id'];
  try {
    const attendance = await attend(platform, userId, {
      signal,
      ...(typeof last === 'string' && last !== '' && { from: last }),
      onNotification: async (notification, position) => {
        begin();
        const id = position === undefined ? '' : `id: ${position}\n`;
        await send(`${id}event: ${notification.type}\ndata: ${JSON.stringify(notification)}\n\n`);
      },
      onGap: async () => {
        begin();
        await send('event: gap\ndata: {}\n\n');
      },
    });
    begin();
    await Promise.race([attendance.closed, beat(send, toMs(heartbeat), signal)]);
    await attendance.close();
    closed.abort(); // Nothing may be written behind the end.
    response.end();
  } catch (error) {
    if (!signal.aborted) throw error; // Nobody is there any more to be told.
  }
}

async function beat(send: (text: string) => Promise<void>, everyMs: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await send(': here\n\n');
    await systemClock.sleep(everyMs, { signal }).catch(() => undefined);
  }
}
