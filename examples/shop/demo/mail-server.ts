/** A mail server on this machine, which takes most mails, asks for some again, and refuses a few. */
import { SMTPServer } from 'smtp-server';
import { listenNear, PORTS } from './ports.ts';

export interface MailServer {
  readonly url: string;
  /** How many mails it took. */
  readonly taken: number;
  stop(): Promise<void>;
}

const BUSY = 0.04;

export async function startMailServer(): Promise<MailServer> {
  let taken = 0;
  const server = new SMTPServer({
    disabledCommands: ['AUTH', 'STARTTLS'],
    disableReverseLookup: true,
    closeTimeout: 500,
    onRcptTo({ address }, _session, done) {
      if (address.startsWith('moved')) done(refusal(550, 'nobody of that name lives here any more'));
      else if (Math.random() < BUSY) done(refusal(451, 'come back in a minute'));
      else done();
    },
    onData(mail, _session, done) {
      mail.resume().once('end', () => {
        taken++;
        done();
      });
    },
  });
  server.on('error', () => undefined); // A client that hangs up in the middle.
  const port = await listenNear(server.server, PORTS.mail);
  return {
    url: `smtp://127.0.0.1:${port}`,
    get taken() {
      return taken;
    },
    stop: () => new Promise((resolve) => server.close(resolve)),
  };
}

function refusal(responseCode: number, words: string): Error {
  return Object.assign(new Error(words), { responseCode });
}
