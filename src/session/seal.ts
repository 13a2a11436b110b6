/**
 * Encrypts what is kept of a session at rest: AES-256-GCM, a random nonce each time.
 *
 * What it belongs to (realm and session id) is authenticated too, so that nobody who can write to Redis can give one session the data of another.
 * The first key writes, all read: a key is replaced by putting a new one before it, and left out once the oldest session has ended.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';

/** A key of sessions' data. */
export interface SessionKey {
  /** Stands beside what the key has encrypted; up to 32 letters, digits, - and _. */
  readonly id: string;
  /** 32 bytes, or these as base64, base64url or hex. */
  readonly key: Uint8Array | string;
}

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** The bytes of a key; undefined when there are not 32. */
export function keyBytesOf(key: unknown): Buffer | undefined {
  if (key instanceof Uint8Array) return key.length === KEY_BYTES ? Buffer.from(key) : undefined;
  if (typeof key !== 'string') return undefined;
  if (/^[\da-f]{64}$/i.test(key)) return Buffer.from(key, 'hex');
  return /^[\w+/-]{43}=?$/.test(key) ? Buffer.from(key, 'base64') : undefined;
}

/** Seals and opens with the keys of a realm. */
export class Sealer {
  readonly #keys: ReadonlyMap<string, Buffer>;
  readonly #first: { id: string; key: Buffer };

  constructor(keys: readonly [{ id: string; key: Buffer }, ...Array<{ id: string; key: Buffer }>]) {
    this.#keys = new Map(keys.map(({ id, key }) => [id, key]));
    this.#first = keys[0];
  }

  seal(text: string, about: string): { keyId: string; sealed: string } {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#first.key, nonce).setAAD(Buffer.from(about));
    const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
    return { keyId: this.#first.id, sealed: Buffer.concat([nonce, cipher.getAuthTag(), body]).toString('base64url') };
  }

  /** Undefined when the key is unknown, or the text is not what that key has sealed for this. */
  open(keyId: string, sealed: string, about: string): string | undefined {
    const key = this.#keys.get(keyId);
    const bytes = Buffer.from(sealed, 'base64url');
    if (!key || bytes.length < NONCE_BYTES + TAG_BYTES) return undefined;
    try {
      const nonce = bytes.subarray(0, NONCE_BYTES);
      const tag = bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES);
      const cipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
      cipher.setAAD(Buffer.from(about)).setAuthTag(tag);
      return Buffer.concat([cipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), cipher.final()]).toString('utf8');
    } catch {
      return undefined; // Somebody has changed it, or it was sealed for another session.
    }
  }
}
