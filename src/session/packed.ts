/**
 * What Redis keeps of a session: one array of JSON, of which the scripts know the head by its form.
 *
 *   [1, hash, former hash, seed, used, former level, family hash, created, absolute, seen, rotated, level, number, version, ...rest]
 *
 * `used` is when the token was first presented, 0 before that; `number`, how many tokens came before it. The former level stands there where an
 * elevation has replaced the former token. The rest is `userId, device, data`, or, where it is encrypted, `key id, sealed`. Hashes and ids have letters, digits, - and _ only.
 */
import { MillraceError } from '../errors.ts';
import type { Sealer } from './seal.ts';

/** What a device tells of itself. */
export interface SessionDevice {
  readonly ip?: string | undefined;
  readonly userAgent?: string | undefined;
  readonly name?: string | undefined;
}

/** The rest of a session. */
export interface Rest {
  readonly userId: string;
  readonly device: SessionDevice;
  /** As JSON has it: before the defaults and transforms of its schema. */
  readonly data: object;
}

/** The same, to be written. */
export type NewRest = Omit<Rest, 'data'> & { readonly json: string };

/** A session as it is kept; times in server ms. */
export interface Kept {
  readonly hash: string;
  readonly seed: string;
  readonly formerHash: string;
  /** When the current token was used first; 0 when it was not. */
  readonly usedAt: number;
  /** Empty where no elevation has replaced the former token. */
  readonly formerLevel: string;
  readonly family: string;
  readonly createdAt: number;
  readonly absoluteAt: number;
  readonly seenAt: number;
  readonly rotatedAt: number;
  readonly level: string;
  /** How many tokens came before the current one. */
  readonly number: number;
  readonly version: number;
  /** What stands after the head. */
  readonly rest: readonly unknown[];
}

const HEAD_LENGTH = 14;

/** @throws MillraceError INPUT_INVALID when it is no session of this form. */
export function unpack(value: string): Kept {
  const all = parse(value);
  // Only scripts of ours write it: what begins and ends as they do is theirs.
  const isOurs = Array.isArray(all) && all[0] === 1 && typeof all[1] === 'string' && typeof all[6] === 'string';
  if (!isOurs || typeof all[HEAD_LENGTH - 1] !== 'number') throw unreadable('it is no session of this form');
  return {
    hash: all[1] as string,
    formerHash: all[2] as string,
    seed: all[3] as string,
    usedAt: all[4] as number,
    formerLevel: all[5] as string,
    family: all[6] as string,
    createdAt: all[7] as number,
    absoluteAt: all[8] as number,
    seenAt: all[9] as number,
    rotatedAt: all[10] as number,
    level: all[11] as string,
    number: all[12] as number,
    version: all[13] as number,
    rest: all.slice(HEAD_LENGTH) as unknown[],
  };
}

/** The rest as it is written. `about` is what it belongs to. */
export function packRest({ userId, device, json }: NewRest, sealer: Sealer | undefined, about: string): string {
  const open = `${JSON.stringify(userId)},${JSON.stringify(device)},${json}`;
  if (!sealer) return open;
  const { keyId, sealed } = sealer.seal(`[${open}]`, about);
  return `"${keyId}","${sealed}"`;
}

/**
 * What stands in the rest. Where there are keys, only what they have sealed is read: anybody who can write to Redis can write the other form.
 *
 * @throws MillraceError INPUT_INVALID when nobody can read it.
 */
export function unpackRest(rest: readonly unknown[], sealer: Sealer | undefined, about: string): Rest {
  let parts = rest;
  if (sealer || rest.length === 2) {
    const opened = sealer?.open(String(rest[0]), String(rest[1]), about);
    if (opened === undefined) throw unreadable('its data is not encrypted by a key that is among encryptWith');
    parts = parse(opened) as unknown[];
  }
  const [userId, device, data] = parts;
  if (typeof userId !== 'string' || !isObject(device) || !isObject(data))
    throw unreadable('it is no session of this form');
  return { userId, device, data };
}

function unreadable(why: string): MillraceError {
  return new MillraceError('INPUT_INVALID', `a session cannot be read: ${why}`, {});
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw unreadable('it is no JSON'); // The cause would show what stands there.
  }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
