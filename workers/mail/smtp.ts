/**
 * The way to one mail server: a pool of connections that is made with the first mail.
 *
 * Promise: what send() throws says whether another try can help. A refusal of this mail (5xx to sender, recipient or message) is
 * unrecoverable; all else (4xx, no connection, no answer, a refused sign-in) is to be tried again. Errors have the server's words, without the
 * recipient's address but for its domain.
 */
import { createTransport, type Transporter } from 'nodemailer';
import type SMTPPool from 'nodemailer/lib/smtp-pool';
import { unrecoverable } from 'millrace';
import { domainOf, readableOf } from './address.ts';

/** Where the mail server is and how it is spoken to. */
export interface SmtpSettings {
  host: string;
  port: number;
  /** TLS from the first byte. */
  isSecure: boolean;
  user: string | undefined;
  password: string | undefined;
  /** Send nothing where STARTTLS cannot be had. */
  requireTls: boolean;
  connections: number;
  /** How long each step may take: to connect, the greeting, an answer. */
  timeoutMs: number;
}

/** A mail, ready to go. */
export type Mail = Omit<NonNullable<Parameters<SmtpPool['sendMail']>[0]>, 'to'> & {
  to: { name: string; address: string };
};

type SmtpPool = Transporter<SMTPPool.SentMessageInfo, SMTPPool.Options>;

/** An idle connection holds a process up, and most servers hang up soon anyway. */
const IDLE_MS = 10_000;
const LONGEST_ANSWER = 300;

/** A mail server that could not be asked, or asks to come back later. */
export class MailFailed extends Error {
  override readonly name = 'MailFailed';
  /** Such as `ECONNECTION`, or the server's `450`. */
  readonly code: string;

  constructor(message: string, code: string) {
    super(message);
    this.code = code;
  }
}

/** What nodemailer throws. */
interface SmtpError extends Error {
  code?: string;
  response?: string;
  responseCode?: number;
  /** Whether the same mail would be refused again. */
  permanent?: boolean;
}

/** A mail server. */
export class Smtp {
  readonly #settings: SmtpSettings;
  #pool: SmtpPool | undefined;
  #isClosed = false;

  constructor(settings: SmtpSettings) {
    this.#settings = settings;
  }

  /** @returns the server's words. @throws MailFailed, MillraceError JOB_UNRECOVERABLE, the signal's reason */
  async send(mail: Mail, signal: AbortSignal): Promise<string> {
    signal.throwIfAborted();
    if (this.#isClosed) throw new MailFailed('the mail handler is closed', 'ECLOSED');
    try {
      const { response } = await this.#transport().sendMail({ ...mail, signal });
      return withoutAddress(response, mail.to.address);
    } catch (error) {
      signal.throwIfAborted(); // Its reason says more than that the sending was aborted.
      throw explain(error as SmtpError, mail.to.address);
    }
  }

  /** Hangs up. Mails that are on their way are given up, and later ones are not begun. */
  close(): void {
    this.#isClosed = true;
    this.#pool?.close({ force: true });
    this.#pool = undefined;
  }

  #transport(): SmtpPool {
    const { host, port, isSecure, user, password, requireTls, connections, timeoutMs } = this.#settings;
    return (this.#pool ??= createTransport({
      pool: true,
      host,
      port,
      secure: isSecure,
      requireTLS: requireTls,
      ...(user !== undefined && { auth: { user, pass: password ?? '' } }),
      maxConnections: connections,
      idleTimeout: IDLE_MS,
      // Of a connection that the server had closed before a byte of the mail was sent. All else is the job's next attempt.
      maxRequeues: 1,
      connectionTimeout: timeoutMs,
      greetingTimeout: timeoutMs,
      socketTimeout: timeoutMs,
      dnsTimeout: timeoutMs,
      disableFileAccess: true,
      disableUrlAccess: true,
    }));
  }
}

function explain(error: SmtpError, address: string): Error {
  const { code = 'ESMTP', response, responseCode, message } = error;
  const words = withoutAddress(response ?? message, address);
  const isAboutMail = code === 'EENVELOPE' || code === 'EMESSAGE';
  if (responseCode === undefined) {
    // Nodemailer itself found that this mail cannot be sent, such as one that is larger than the server takes.
    return isAboutMail
      ? unrecoverable(`the mail cannot be sent: ${words}`)
      : new MailFailed(`no mail server: ${words}`, code);
  }
  // 530 and its like are about who sends, not about what is sent: that is mended, and the same mail passes.
  const isRefused = isAboutMail && error.permanent === true && responseCode !== 530 && responseCode !== 535;
  const said = `the mail server answered ${words}`;
  return isRefused ? unrecoverable(said) : new MailFailed(said, String(responseCode));
}

/** One line that can be logged: servers repeat the address that they refuse. */
function withoutAddress(words: string, address: string): string {
  const spellings = [address, readableOf(address)].map((one) => one.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`));
  return words
    .replaceAll(new RegExp(spellings.join('|'), 'gi'), () => `...@${domainOf(address)}`)
    .replaceAll(/\s+/g, ' ')
    .slice(0, LONGEST_ANSWER);
}
