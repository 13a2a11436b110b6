/**
 * Signatures of the Standard Webhooks scheme: `v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64, one for each secret, so that a
 * receiver can change its secret without a gap.
 */
import { createHmac } from 'node:crypto';

export const SECRET_FORM = 'whsec_ and 24 to 64 bytes in base64';

const PREFIX = 'whsec_';
const LEAST_BYTES = 24;
const MOST_BYTES = 64;

/** The bytes of a secret as it is written; undefined for what is none. */
export function readSecret(text: string): Buffer | undefined {
  const encoded = text.slice(PREFIX.length);
  if (!text.startsWith(PREFIX) || !/^[A-Za-z0-9+/]+={0,2}$/.test(encoded)) return undefined;
  const bytes = Buffer.from(encoded, 'base64');
  return bytes.length >= LEAST_BYTES && bytes.length <= MOST_BYTES ? bytes : undefined;
}

/** What is signed. */
export interface Message {
  id: string;
  /** In whole seconds since 1970. */
  timestamp: number;
  body: string;
}

/** The three headers of the scheme. */
export function signedHeaders({ id, timestamp, body }: Message, secrets: readonly Buffer[]): Record<string, string> {
  const signatures = secrets.map(
    (secret) => `v1,${createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64')}`,
  );
  return { 'webhook-id': id, 'webhook-timestamp': String(timestamp), 'webhook-signature': signatures.join(' ') };
}
