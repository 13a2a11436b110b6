/**
 * `email.send`: one mail to one address, by SMTP.
 *
 * Promise: an attempt that follows one whose mail was taken sends none (`once`). What is left is the time from the end of the mail until the
 * server's answer is stored: who is killed there, or is never told the answer, sends again, with the same Message-ID, by which mail systems can
 * tell the double. A limit holds per domain of recipients over all workers; a job that meets it waits and uses up no attempt.
 * Redis down: `once` waits for it within the lease, and the limit lets everything through.
 */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import {
  checkOptions,
  durationOption,
  handle,
  unrecoverable,
  type Duration,
  type Handler,
  type JobFacts,
} from 'millrace';
import { z } from 'zod';
import { limitSchema, policyOf, spreadOut, type LimitOption } from './limit-option.ts';
import { addressSchema, domainOf, type Address, type Mailbox } from './mail/address.ts';
import { emailSend, type ParsedEmail } from './mail/contract.ts';
import { Smtp, type Mail, type SmtpSettings } from './mail/smtp.ts';
import { createRenderer, type MailTemplates, type Renderer, type Rendered } from './mail/templates.ts';
import { stableId } from './stable-id.ts';

/** Options of createEmailHandler(). */
export interface EmailOptions {
  /** `smtp://user:password@mail.example.com:587`, or `smtps://` for TLS from the first byte. Ports are 587 and 465 unless they are given. */
  smtp: string;
  /** Who mails come from, unless the job says so: `Shop <shop@example.com>`. */
  from: Address;
  /** A folder of templates, or functions by their names. Default none: jobs bring their content. */
  templates?: MailTemplates | undefined;
  /** How much a recipient's domain is sent, over all workers. Default `{ limit: 120, per: '1m', burst: 30 }`; false for no limit. */
  perDomain?: LimitOption | false | undefined;
  /** Connections to the server from this process at once. Default 5. */
  connections?: number | undefined;
  /** How long to wait for each answer of the server, 1 s to 1 min. Default 20 s. */
  timeout?: Duration | undefined;
  /** Send nothing to a server that offers no STARTTLS. Default: when the address has a password and is not this machine's. */
  requireTls?: boolean | undefined;
}

/** The handler of `email.send`, which holds connections. */
export interface EmailHandler extends Handler {
  /** Hangs up. Call it when the worker has stopped; connections that nobody uses close by themselves within 10 s. */
  close(): void;
}

type Transport = Pick<SmtpSettings, 'host' | 'port' | 'isSecure' | 'user' | 'password'>;

const SMTP_FORM = 'expected an address such as smtp://user:password@mail.example.com:587';
const smtpOption = z.string().transform((text, context): Transport => {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isPlain = url !== undefined && /^\/?$/.test(url.pathname) && url.search === '' && url.hash === '';
  if (!url || !isPlain || !/^smtps?:$/.test(url.protocol) || url.hostname === '') {
    context.addIssue(SMTP_FORM);
    return z.NEVER;
  }
  const [user, password] = [url.username, url.password].map(decoded);
  if (user === undefined || password === undefined) {
    context.addIssue('expected % in the user and the password to be written as %25');
    return z.NEVER;
  }
  const isSecure = url.protocol === 'smtps:';
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? (isSecure ? 465 : 587) : Number(url.port),
    isSecure,
    user: user === '' ? undefined : user,
    password: password === '' ? undefined : password,
  };
});

const templatesOption = z.union([
  z.string().transform((folder, context) => {
    if (statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return resolve(folder);
    context.addIssue('expected a folder that is there');
    return z.NEVER;
  }),
  z.record(
    z.string(),
    z.custom<never>((value) => typeof value === 'function', 'expected a function'),
  ),
]);

const optionsSchema = z.strictObject({
  smtp: smtpOption,
  from: addressSchema,
  templates: templatesOption.optional(),
  perDomain: limitSchema.default({ limit: 120, per: '1m', burst: 30 }),
  connections: z.int().min(1).max(100).default(5),
  timeout: durationOption.refine((ms) => ms >= 1_000 && ms <= 60_000, 'expected 1 s to 1 min').prefault('20s'),
  requireTls: z.boolean().optional(),
});

/**
 * The handler of `email.send`.
 *
 * @example
 * const email = createEmailHandler({ smtp: 'smtp://mail.example.com', from: 'Shop <shop@example.com>', templates: 'mails' });
 * await platform.work({ handlers: [email] });
 * @throws MillraceError OPTIONS_INVALID
 */
export function createEmailHandler(options: EmailOptions): EmailHandler {
  const checked = checkOptions(optionsSchema, options, 'createEmailHandler', ['smtp']);
  const { smtp: server, from, connections, timeout: timeoutMs, perDomain } = checked;
  const requireTls = checked.requireTls ?? (server.password !== undefined && !isThisMachine(server.host));
  const smtp = new Smtp({ ...server, requireTls, connections, timeoutMs });
  const render = createRenderer(checked.templates);
  const handler = handle(emailSend, (input, { job, log, limits, once, signal }) => {
    const domain = domainOf(input.to.address);
    return once('sent', async () => {
      const mail = await mailOf(input, job, from, render);
      // Within the effect, so that a job whose mail has gone is not held up.
      if (perDomain !== false)
        await limits
          .limiter('email.send', policyOf(perDomain))
          .require(domain)
          .catch((error: unknown) => {
            throw spreadOut(error, job);
          });
      const response = await smtp.send(mail, signal);
      log.info({ domain, template: input.template }, 'mail sent');
      return { messageId: mail.messageId, response };
    });
  });
  return Object.freeze({ ...handler, close: () => smtp.close() });
}

async function mailOf(
  input: ParsedEmail,
  job: JobFacts,
  ourSender: Mailbox,
  render: Renderer,
): Promise<Mail & { messageId: string }> {
  const { to, from = ourSender, replyTo, headers, attachments = [] } = input;
  const content = await contentOf(input, render);
  return {
    // Of our domain, whatever sender the job names.
    messageId: `<millrace.${stableId(job.id)}@${domainOf(ourSender.address)}>`,
    from,
    to,
    // The envelope is said outright: nothing in a header can add a recipient.
    envelope: { from: from.address, to: [to.address] },
    ...content,
    ...(replyTo && { replyTo }),
    ...(headers && { headers }),
    attachments: attachments.map(({ filename, content: bytes, contentType }) => ({
      filename,
      content: Buffer.from(bytes, 'base64'),
      ...(contentType !== undefined && { contentType }),
    })),
  };
}

async function contentOf(
  { template, data = {}, subject, text, html }: ParsedEmail,
  render: Renderer,
): Promise<{ subject: string; text?: string; html?: string }> {
  const content: Rendered = template === undefined ? { subject, text, html } : await render(template, data);
  const title = subject ?? content.subject;
  if (title === undefined) throw unrecoverable(`template ${template}: it has no subject, and the job gives none`);
  return {
    subject: title,
    ...(content.text !== undefined && { text: content.text }),
    ...(content.html !== undefined && { html: content.html }),
  };
}

/** Undefined for a % that begins nothing. */
function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function isThisMachine(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}
