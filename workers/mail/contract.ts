/** What apps enqueue to have a mail sent. */
import { defineJob, type JobContract } from 'millrace';
import { z } from 'zod';
import { ONE_LINE } from '../one-line.ts';
import { addressSchema, type Address } from './address.ts';
import { headersSchema } from './headers.ts';
import { NAME_FORM, TEMPLATE_NAME } from './template-name.ts';

/** A file that goes with a mail. */
export interface EmailAttachment {
  /** What the reader sees: a name without folders. */
  filename: string;
  /** The bytes, in base64. An input is at most 256 KB of JSON; what is larger is better linked to. */
  content: string;
  /** Such as `text/calendar`. Default: by the ending of the name. */
  contentType?: string | undefined;
}

/** Input of `email.send`: one mail to one address. Its content is a template with data, or stands in the input. */
export interface EmailInput {
  /** `ada@example.com`, `Ada <ada@example.com>` or `{ name, address }`. One, so that a retry reaches nobody twice. */
  to: Address;
  /** The name of a template of the handler's, such as `welcome` or `de/welcome`. */
  template?: string | undefined;
  /** What the template is filled with. */
  data?: Record<string, unknown> | undefined;
  /** One line. Needed without a template; with one, it takes the place of the template's. */
  subject?: string | undefined;
  /** The text part, in the place of a template. */
  text?: string | undefined;
  /** The HTML part, in the place of a template. It is sent as it is: escape what users wrote. */
  html?: string | undefined;
  /** Default: the handler's `from`. */
  from?: Address | undefined;
  replyTo?: Address | undefined;
  /** Further headers, such as `List-Unsubscribe`. Those that the mail has by itself (To, Bcc, Content-Type, ...) are refused. */
  headers?: Record<string, string> | undefined;
  /** At most 20. */
  attachments?: readonly EmailAttachment[] | undefined;
}

/** What `email.send` gives to those who wait. */
export interface EmailResult {
  messageId: string;
  /** The mail server's words, such as `250 2.0.0 queued as 4F21`. */
  response: string;
}

const attachmentSchema = z.strictObject({
  filename: z
    .string()
    .max(200)
    .regex(/^[^/\\\p{Cc}\u2028\u2029]+$/u, 'expected a file name without folders'),
  content: z.base64(),
  contentType: z
    .string()
    .regex(/^[\w.+-]+\/[\w.+-]+$/, 'expected a type such as text/calendar')
    .optional(),
});

const emailSchema = z
  .strictObject({
    to: addressSchema,
    template: z.string().regex(TEMPLATE_NAME, `expected ${NAME_FORM}`).optional(),
    data: z.record(z.string(), z.unknown()).optional(),
    subject: z.string().max(500).regex(ONE_LINE, 'expected one line').optional(),
    text: z.string().optional(),
    html: z.string().optional(),
    from: addressSchema.optional(),
    replyTo: addressSchema.optional(),
    headers: headersSchema.optional(),
    attachments: z.array(attachmentSchema).max(20).readonly().optional(),
  })
  .superRefine(({ template, data, subject, text, html }, context) => {
    const refuse = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
    const hasContent = text !== undefined || html !== undefined;
    if (template !== undefined && hasContent) refuse('template', 'expected a template, or text and html, not both');
    if (template === undefined && !hasContent) refuse('template', 'expected a template, or text, or html');
    if (template === undefined && subject === undefined)
      refuse('subject', 'expected a subject, as there is no template');
    if (template === undefined && data !== undefined) refuse('data', 'expected a template that it fills');
  });

/** What the handler of `email.send` gets. */
export type ParsedEmail = z.output<typeof emailSchema>;

/**
 * Sends one mail to one address by SMTP.
 *
 * Tried 8 times in about two hours, which outlasts greylisting. What the mail says is masked wherever jobs are shown.
 *
 * @example
 * await platform.jobs.enqueue(emailSend, { to: 'ada@example.com', template: 'welcome', data: { name: 'Ada' } });
 */
export const emailSend: JobContract<EmailInput, ParsedEmail, EmailResult> = defineJob({
  name: 'email.send',
  input: emailSchema,
  output: z.object({ messageId: z.string(), response: z.string() }),
  attempts: 8,
  backoff: { type: 'exponential', delay: '1m', max: '1h', jitter: 0.3 },
  timeout: '2m',
  secrets: ['data', 'text', 'html', 'attachments.*.content'],
});
