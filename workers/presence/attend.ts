/**
 * What a server does for a connection of a user: it hears the notifications, and says that the user is here.
 *
 * Promise: whoever is counted as here hears what is said from then on, in order; a copy of what this connection was told is dropped. With the
 * position of the last one that was seen, all that is kept after it comes first; where too much was missed, `onGap` is told.
 * Redis down: attend() rejects; later on the subscription goes on by itself, and misses nothing that is kept.
 */
import { isMillraceError, type Platform, type Subscription } from 'millrace';
import { notificationRoom, userNotifications, type Notification } from './contract.ts';

/** Options of attend(). */
export interface AttendOptions {
  /** Told of each notification, one after the other. `position` is what to come back with. */
  onNotification: (notification: Notification, position: string | undefined) => unknown;
  /** The position of the last notification that was seen, such as `Last-Event-ID`. Default: what is said from now on. */
  from?: string | undefined;
  /** Some were missed, and are kept no more: load the list again. */
  onGap?: (() => unknown) | undefined;
  /** Names the connection, such as a socket's id. Default: a new name. */
  connectionId?: string | undefined;
  /** Ends it: when the connection has closed. */
  signal?: AbortSignal | undefined;
}

/** A connection that is attended. */
export interface Attendance {
  /** Resolves when it has ended, by close(), the signal, or the platform's stop. */
  readonly closed: Promise<unknown>;
  /** The user leaves with this connection. */
  close(): Promise<void>;
}

/** How many ids a connection remembers. */
const MOST_SEEN = 1_000;

/**
 * Attends a connection of a user, whom the server has asked who it is.
 *
 * @example
 * const attendance = await attend(platform, session.userId, {
 *   onNotification: (notification) => socket.send(JSON.stringify(notification)),
 * });
 * socket.on('close', () => void attendance.close());
 * @throws MillraceError REDIS_*, OPTIONS_INVALID; the reason of the signal
 */
export async function attend(
  { pubsub, presence }: Pick<Platform, 'pubsub' | 'presence'>,
  userId: string,
  options: AttendOptions,
): Promise<Attendance> {
  const { connectionId, signal } = options;
  signal?.throwIfAborted();
  const subscription = subscribe(pubsub, userId, options);
  try {
    await subscription.ready(); // Before the user is here: who is here must hear.
    const member = await presence
      .room(notificationRoom(userId))
      .enter({ userId, ...(connectionId !== undefined && { connectionId }) });
    void subscription.closed.then(() => member.leave());
    signal?.throwIfAborted();
  } catch (error) {
    await subscription.close();
    signal?.throwIfAborted();
    throw error;
  }
  return { closed: subscription.closed, close: () => subscription.close() };
}

function subscribe(
  pubsub: Platform['pubsub'],
  userId: string,
  { onNotification, onGap, from, signal }: AttendOptions,
): Subscription {
  const seen = new Set<string>();
  const open = (position: string | undefined): Subscription =>
    pubsub.subscribe(
      userNotifications.at(userId),
      async ({ data, position: at }) => {
        if (seen.has(data.id)) return;
        seen.add(data.id);
        if (seen.size > MOST_SEEN) seen.delete(seen.values().next().value ?? '');
        await onNotification(data, at);
      },
      { ...(position !== undefined && { from: position }), ...(signal && { signal }), onGap: () => onGap?.() },
    );
  try {
    return open(from);
  } catch (error) {
    // A position comes from a browser, and may be anything.
    if (from === undefined || !isMillraceError(error, 'OPTIONS_INVALID')) throw error;
    const subscription = open(undefined);
    onGap?.();
    return subscription;
  }
}
