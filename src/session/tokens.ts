/**
 * Tokens: what a client holds, and what is kept of it.
 *
 *   v1.USERTAG.ID.FAMILY+KEY     93 characters; USERTAG.ID is the session's public id, the rest is secret
 *
 * USERTAG is a hash of the user's id: it finds the user's sessions without telling who it is. ID begins with the time of the login, so that
 * of a session that is gone it can be told whether it is old enough to have run out. FAMILY (128 bits) is the same in all tokens of a session
 * and tells a former token from a guess. KEY is new in each: the number of the token (24 bits), by which one that Redis does not know yet, since a
 * failover has lost it, is told from a former one; and 104 bits of secret. Of a token only hashes are kept: nobody who reads Redis can make one,
 * but the successor of one that they have.
 *
 * The successor of a token is made of the token itself and a random seed that is kept beside the hashes. So each of several requests that come
 * with one token is told the same successor, whichever of them has replaced it, and no token ever stands in Redis.
 */
import { hash, randomBytes } from 'node:crypto';

/** A token, taken apart. */
export interface Token {
  readonly text: string;
  /** `USERTAG.ID` */
  readonly sessionId: string;
  readonly tag: string;
  readonly id: string;
  /** What all tokens of the session begin with. */
  readonly kin: string;
}

const PART = 22;
const HEAD = 'v1.'.length;
const KIN_ENDS = HEAD + 3 * PART + 2;
const TOKEN_LENGTH = KIN_ENDS + PART;
const TOKEN_FORM = /^v1\.[\w-]{22}\.[\w-]{22}\.[\w-]{44}$/;
const ID_FORM = /^[\w-]{22}\.[\w-]{22}$/;
const TIME_BYTES = 6;
const PART_BYTES = 16;
/** Of a token's number, and as text. */
const NUMBER = { bytes: 3, length: 4, most: 0xff_ff_ff } as const;

/** Undefined for what has not the form of a token, however long it is. */
export function readToken(text: unknown): Token | undefined {
  if (typeof text !== 'string' || text.length !== TOKEN_LENGTH || !TOKEN_FORM.test(text)) return undefined;
  const sessionId = text.slice(HEAD, HEAD + 2 * PART + 1);
  return {
    text,
    sessionId,
    tag: sessionId.slice(0, PART),
    id: sessionId.slice(PART + 1),
    kin: text.slice(0, KIN_ENDS),
  };
}

/** How many tokens of its session came before it; whoever has one can make the number of another up, and no more. */
export function numberOf({ text }: Token): number {
  return Buffer.from(text.slice(KIN_ENDS, KIN_ENDS + NUMBER.length), 'base64url').readUIntBE(0, NUMBER.bytes);
}

/** The two parts of a session's public id; undefined for what is none. */
export function readSessionId(sessionId: unknown): { tag: string; id: string } | undefined {
  if (typeof sessionId !== 'string' || !ID_FORM.test(sessionId)) return undefined;
  return { tag: sessionId.slice(0, PART), id: sessionId.slice(PART + 1) };
}

/** A new id, of a session that begins at that time of the server. */
export function newId(nowMs: number): string {
  const bytes = randomBytes(PART_BYTES);
  bytes.writeUIntBE(Math.floor(nowMs), 0, TIME_BYTES);
  return bytes.toString('base64url');
}

/** When a session of that id began. Whoever made the id up has made up the time, too. */
export function bornAt(id: string): number {
  return Buffer.from(id, 'base64url').readUIntBE(0, TIME_BYTES);
}

/** Random text that no one guesses: 128 bits. */
export function newPart(): string {
  return randomBytes(PART_BYTES).toString('base64url');
}

/** The secret of the first token of a session. */
export function newSecret(): string {
  return newPart() + numbered(newPart(), 0);
}

function numbered(key: string, number: number): string {
  const bytes = Buffer.alloc(NUMBER.bytes);
  bytes.writeUIntBE(Math.min(number, NUMBER.most), 0, NUMBER.bytes);
  return bytes.toString('base64url') + key.slice(NUMBER.length);
}

/** The block of SHA-256, which HMAC fills with its key. */
const BLOCK = 64;
const INNER_PAD = 0x36;
const OUTER_PAD = 0x5c;
/** Of a digest. */
const DIGEST_BYTES = 32;
/** What a text may have of UTF-8, for it to be hashed where the pad stands already. */
const ROOM = 2_048;

/** How tokens are hashed, and users' ids: by HMAC with a pepper, else by SHA-256. */
export class Hashing {
  /** The pads of HMAC, and room for what follows them; none without a pepper. */
  readonly #inner: Buffer | undefined;
  readonly #outer = Buffer.alloc(BLOCK + DIGEST_BYTES, OUTER_PAD);

  constructor(pepper: string | undefined) {
    if (pepper === undefined) return;
    this.#inner = Buffer.alloc(BLOCK + ROOM, INNER_PAD);
    for (const [at, byte] of hash('sha256', pepper, 'buffer').entries()) {
      this.#inner[at] = byte ^ INNER_PAD;
      this.#outer[at] = byte ^ OUTER_PAD;
    }
  }

  /** Where a user's sessions are. Without a pepper, whoever has the tag can check a guess of the user's id. */
  tagOf(userId: string): string {
    return this.#partOf(`user:${userId}`);
  }

  /** What is kept of a token, or of what all tokens of a session have in common. */
  hashOf(text: string): string {
    return this.#digest(text, 'base64url');
  }

  /**
   * Whether the hash is that of the text. It looks at every character, wherever they differ first; and should the engine still tell a little by its
   * time, it would be of hashes of secrets that nobody can guess, from which no way leads back to a token.
   */
  isHashOf(kept: string, text: string): boolean {
    const digest = this.hashOf(text);
    let differs = kept.length ^ digest.length;
    for (let at = 0; at < digest.length; at++) differs |= kept.charCodeAt(at) ^ digest.charCodeAt(at);
    return differs === 0;
  }

  /** The token that comes after this one, for whoever holds this one. */
  successorOf(token: Token, seed: string): string {
    return token.kin + numbered(this.#partOf(`next:${seed}.${token.text}`), numberOf(token) + 1);
  }

  #partOf(text: string): string {
    return Buffer.from(this.#digest(text, 'hex'), 'hex').subarray(0, PART_BYTES).toString('base64url');
  }

  /** In one go: createHash() and createHmac() take several times as long for so short a text, and each request waits for it. */
  #digest(text: string, encoding: 'hex' | 'base64url'): string {
    const inner = this.#inner;
    if (!inner) return hash('sha256', text, encoding);
    // No text of ours is longer: user ids have 512 characters at most.
    const length = BLOCK + inner.write(text, BLOCK, 'utf8');
    this.#outer.write(hash('sha256', inner.subarray(0, length), 'binary'), BLOCK, 'latin1');
    return hash('sha256', this.#outer, encoding);
  }
}
