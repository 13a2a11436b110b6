/** The contract of `presence.notify`, and the topic by which servers hear of it. */
import { defineJob, defineTopic, type JobContract } from 'millrace';
import { z } from 'zod';
import { emailSend, type EmailInput } from '../mail/contract.ts';

/** What a user is told. */
export interface Notification {
  /** The same in all copies: who has seen it drops the next. */
  id: string;
  /** Such as `order.shipped`: letters, digits and _ . - */
  type: string;
  /** Anything with a JSON form. */
  data?: unknown;
  /** When it was enqueued, in ms since 1970. */
  at: number;
}

const typeField = z.string().regex(/^[\w.-]{1,100}$/, 'expected letters, digits and _ . -');
const notificationSchema = z.object({ id: z.string(), type: typeField, data: z.unknown().optional(), at: z.number() });

/**
 * Where notifications are said, by user. What was said in the last day, up to 10,000 of all users, is kept for those who come back.
 *
 * @example
 * platform.pubsub.subscribe(userNotifications.at('ada'), ({ data }) => console.log(data.type, data.data));
 */
export const userNotifications = defineTopic({
  name: 'user-notifications.*',
  schema: notificationSchema,
  reliable: { keep: 10_000, age: '1d' },
});

/** The room of presence in which each connection of the user is. */
export function notificationRoom(userId: string): string {
  return `user-notifications:${userId}`;
}

/** Input of `presence.notify`: what one user is told. */
export interface NotifyInput {
  userId: string;
  /** Such as `order.shipped`: letters, digits and _ . - */
  type: string;
  /** Anything with a JSON form; with `id` and `type` at most 64 KB. */
  data?: unknown;
  /** Names the notification, such as `shipped:42`. Default: made of the job's id. */
  id?: string | undefined;
  /** The mail that is sent in its place when the user is away: an `email.send` job. */
  email?: EmailInput | undefined;
}

/** What `presence.notify` gives to those who wait. */
export interface NotifyResult {
  id: string;
  /** How many connections the user had. */
  connections: number;
  /** How many processes listened for notifications, of whichever users. */
  processes: number;
  /** Nobody could be told: it is kept for a day, and what was wished for that case was done. */
  away: boolean;
  /** The id of the job that sends the mail. */
  emailJob?: string | undefined;
}

/** What is not known before the job is there, at its longest: its id as stableId() gives it, and when it was enqueued. */
const LATER = { id: 'x'.repeat(64), at: 9_999_999_999_999 };

const notifySchema = z
  .strictObject({
    userId: z.string().min(1).max(256),
    type: typeField,
    data: z.unknown().optional(),
    id: z.string().min(1).max(200).optional(),
    email: z
      .custom<EmailInput>((value) => typeof value === 'object' && value !== null, 'expected the input of email.send')
      .superRefine(async (email, context) => {
        const { issues = [] } = await emailSend.input['~standard'].validate(email);
        for (const { path = [], message } of issues)
          context.addIssue({
            code: 'custom',
            path: path.map((step) => (typeof step === 'object' ? step.key : step)),
            message,
          });
      })
      .optional(),
  })
  .superRefine(({ type, data, id = LATER.id }, context) => {
    const { maxBytes } = userNotifications;
    const sizeBytes = Buffer.byteLength(JSON.stringify({ id, type, data, at: LATER.at } satisfies Notification));
    if (sizeBytes <= maxBytes) return;
    // Of the input as a whole: what is told of `data`, which is a secret, would not be shown.
    context.addIssue(
      `expected data, type and id of at most ${maxBytes} bytes, got ${sizeBytes}; store data elsewhere and send where it is`,
    );
  });

/** What the handler of `presence.notify` gets. */
export type ParsedNotify = z.output<typeof notifySchema>;

/**
 * Tells a user's browsers something now, or has a mail sent when the user is away.
 *
 * Tried 10 times in about five minutes. `data` and `email` are masked wherever jobs are shown.
 *
 * @example
 * await platform.jobs.enqueue(presenceNotify, {
 *   userId: 'ada',
 *   type: 'order.shipped',
 *   data: { order: 42 },
 *   email: { to: 'ada@example.com', template: 'shipped', data: { order: 42 } },
 * });
 */
export const presenceNotify: JobContract<NotifyInput, ParsedNotify, NotifyResult> = defineJob({
  name: 'presence.notify',
  input: notifySchema,
  output: z.object({
    id: z.string(),
    connections: z.number(),
    processes: z.number(),
    away: z.boolean(),
    emailJob: z.string().optional(),
  }),
  attempts: 10,
  backoff: { type: 'exponential', delay: '1s', max: '2m', jitter: 0.3 },
  timeout: '30s',
  secrets: ['data', 'email'],
});
