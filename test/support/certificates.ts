/** Certificates for TLS tests, made by the openssl command. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** PEM texts, and the files that hold them. */
export interface Certificates {
  /** The authority that signed the server's certificate. */
  ca: string;
  files: { ca: string; cert: string; key: string };
  /** An authority that signed nothing. */
  strangerCa: string;
}

/** Makes an authority, a certificate of it for 127.0.0.1 and localhost, and another authority; or tells why it cannot. */
export async function makeCertificates(folder: string): Promise<Certificates | string> {
  const file = (name: string): string => join(folder, name);
  const openssl = async (args: string, subject: string, ...more: string[]): Promise<void> => {
    await run('openssl', [...args.split(' '), '-subj', subject, ...more], { cwd: folder });
  };
  const request = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2';
  const names = ['-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  try {
    await openssl(`${request} -keyout ca.key -out ca.crt`, '/CN=ca');
    await openssl(`${request} -keyout stranger.key -out stranger.crt`, '/CN=stranger');
    await openssl(`${request} -CA ca.crt -CAkey ca.key -keyout redis.key -out redis.crt`, '/CN=redis', ...names);
  } catch (error) {
    return `certificates cannot be made: ${(error as Error).message}`;
  }
  return {
    ca: readFileSync(file('ca.crt'), 'utf8'),
    files: { ca: file('ca.crt'), cert: file('redis.crt'), key: file('redis.key') },
    strangerCa: readFileSync(file('stranger.crt'), 'utf8'),
  };
}
