/** A real SMTP server in the test's process, which can be told to misbehave, and the mails that it took. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { SMTPServer } from 'smtp-server';

/** A mail that was taken. */
export interface TakenMail {
  from: string;
  to: string[];
  /** By lower-case name, unfolded and decoded. */
  headers: Record<string, string>;
  /** By content type. */
  parts: Record<string, string>;
  source: string;
}

/** An answer of the server. */
export type Refusal = { code: number; words: string };

export interface MailServer {
  readonly url: string;
  readonly mails: TakenMail[];
  /** How many connections there were. */
  readonly connections: number;
  /** Asked for each recipient and each message; undefined takes it. A promise that stays open hangs. */
  answer: {
    recipient?: (address: string) => Refusal | undefined;
    message?: (mail: TakenMail) => Promise<Refusal | undefined>;
  };
  stop(): Promise<void>;
}

/** Starts one on a free port. */
export async function startMailServer({ user, size }: { user?: string; size?: number } = {}): Promise<MailServer> {
  const mails: TakenMail[] = [];
  let connections = 0;
  const answer: MailServer['answer'] = {};
  const server = new SMTPServer({
    disabledCommands: ['STARTTLS', ...(user === undefined ? ['AUTH'] : [])],
    allowInsecureAuth: true,
    disableReverseLookup: true,
    closeTimeout: 10,
    ...(size !== undefined && { size }),
    onAuth: ({ username }, _session, callback) =>
      username === user ? callback(null, { user }) : callback(refusalOf({ code: 535, words: 'who are you?' })),
    onConnect(_session, callback) {
      connections += 1;
      callback();
    },
    onRcptTo: ({ address }, _session, callback) => callback(refusalOf(answer.recipient?.(address))),
    onData(stream, { envelope: { mailFrom, rcptTo } }, callback) {
      void (async () => {
        const source = await text(stream);
        const from = mailFrom === false ? '' : mailFrom.address;
        const mail = { from, to: rcptTo.map(({ address }) => address), ...readMail(source), source };
        const refusal = await answer.message?.(mail);
        if (!refusal) mails.push(mail);
        callback(refusalOf(refusal), 'queued as 4F21');
      })();
    },
  });
  // A client that is killed or gives up resets its connection.
  server.on('error', () => undefined);
  const listening = server.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  const { port } = listening.address() as AddressInfo;
  return {
    url: `smtp://127.0.0.1:${port}`,
    mails,
    answer,
    get connections() {
      return connections;
    },
    stop: () => new Promise((resolve) => server.close(resolve)),
  };
}

function refusalOf(refusal: Refusal | undefined): Error | null {
  return refusal === undefined ? null : Object.assign(new Error(refusal.words), { responseCode: refusal.code });
}

function readMail(source: string): Pick<TakenMail, 'headers' | 'parts'> {
  const { headers, body } = split(source);
  return { headers, parts: partsOf(headers, body) };
}

function partsOf(headers: Record<string, string>, body: string): Record<string, string> {
  const type = headers['content-type'] ?? 'text/plain';
  const boundary = /boundary="([^"]+)"/.exec(type)?.[1];
  if (boundary === undefined)
    return { [type.replace(/;.*$/s, '')]: decode(headers['content-transfer-encoding'], body) };
  const inner = body.split(`--${boundary}`).slice(1, -1);
  return Object.assign(
    {},
    ...inner.map((part) => split(part.replace(/^\r\n/, ''))).map((part) => partsOf(part.headers, part.body)),
  );
}

function split(source: string): { headers: Record<string, string>; body: string } {
  const [head = '', ...rest] = source.split('\r\n\r\n');
  const lines = head.replaceAll(/\r\n[ \t]+/g, ' ').split('\r\n');
  const headers = lines.map((line) => [
    line.slice(0, line.indexOf(':')).toLowerCase(),
    words(line.slice(line.indexOf(':') + 2)),
  ]);
  return {
    headers: Object.fromEntries(headers) as Record<string, string>,
    body: rest.join('\r\n\r\n').replace(/\r\n$/, ''),
  };
}

/** Of =?UTF-8?B?...?= */
function words(value: string): string {
  return value
    .replaceAll(/\?=\s+=\?/g, '?==?')
    .replaceAll(/=\?utf-8\?([bq])\?([^?]*)\?=/gi, (_whole, kind: string, word: string) =>
      kind.toLowerCase() === 'b' ? Buffer.from(word, 'base64').toString() : quoted(word.replaceAll('_', ' ')),
    );
}

function decode(encoding: string | undefined, body: string): string {
  if (encoding === 'base64') return Buffer.from(body, 'base64').toString();
  return encoding === 'quoted-printable' ? quoted(body.replaceAll('=\r\n', '')) : body;
}

function quoted(body: string): string {
  const bytes = body.replaceAll(/=([0-9A-F]{2})/gi, (_whole, hex: string) => String.fromCharCode(parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString();
}
