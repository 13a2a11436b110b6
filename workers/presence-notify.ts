/**
 * `presence.notify`: a user is told now, on all devices that are connected, or in another way when there is none.
 *
 * Promise: at least once, with an id that is the same in all copies. It is said before it is asked who is here: whoever comes in between hears
 * it, or is told in the other way, or both. A user whose process has died counts as here until its lease has run out (30 s by default); the
 * notification is kept for a day for those who come back to it (`serveNotifications`).
 * Redis down: the attempt fails, and is tried again.
 */
import { checkOptions, handle, type Handler, type JobContext } from 'millrace';
import { z } from 'zod';
import { emailSend } from './mail/contract.ts';
import {
  notificationRoom,
  presenceNotify,
  userNotifications,
  type Notification,
  type NotifyResult,
} from './presence/contract.ts';
import { contractBeside } from './queues.ts';
import { stableId } from './stable-id.ts';

/** Options of createPresenceNotifyHandler(). */
export interface PresenceNotifyOptions {
  /** Told of what reached nobody: to keep it in an inbox, to push it to a phone. Called once, but for an attempt that dies before its return is stored. */
  whenAway?: ((missed: { userId: string; notification: Notification }, context: JobContext) => unknown) | undefined;
}

const optionsSchema = z.strictObject({
  whenAway: z
    .custom<NonNullable<PresenceNotifyOptions['whenAway']>>(
      (value) => typeof value === 'function',
      'expected a function',
    )
    .optional(),
});

/**
 * The handler of `presence.notify`.
 *
 * @example
 * const notify = createPresenceNotifyHandler({ whenAway: ({ userId, notification }) => inbox.add(userId, notification) });
 * await platform.work({ handlers: [notify] });
 * @throws MillraceError OPTIONS_INVALID
 */
export function createPresenceNotifyHandler(options: PresenceNotifyOptions = {}): Handler {
  const { whenAway } = checkOptions(optionsSchema, options, 'createPresenceNotifyHandler');
  return handle(presenceNotify, async (input, context): Promise<NotifyResult> => {
    const { enqueue, job, log, once, presence, pubsub } = context;
    const { userId, type, data, email } = input;
    const id = input.id ?? stableId(job.id);
    const notification: Notification = { id, type, ...(data !== undefined && { data }), at: job.enqueuedAt };
    const processes = await once('said', async () => {
      const { receivers } = await pubsub.publish(userNotifications.at(userId), notification);
      return receivers;
    });
    const { users, connections } = await presence.room(notificationRoom(userId)).count();
    // Who reloads the page is here, without a connection for a moment, and comes back to what was said.
    const away = users === 0 || processes === 0;
    let emailJob: string | undefined;
    if (away && email) {
      const key = JSON.stringify([presenceNotify.name, userId, id]);
      const mail = contractBeside(job, presenceNotify, emailSend);
      ({ id: emailJob } = await enqueue(mail, email, { idempotencyKey: key }));
    }
    if (away && whenAway)
      await once('away', async () => {
        await whenAway({ userId, notification }, context);
      });
    log.info({ type, connections, processes, away }, away ? 'user is away' : 'user notified');
    return { id, connections, processes, away, ...(emailJob !== undefined && { emailJob }) };
  });
}
