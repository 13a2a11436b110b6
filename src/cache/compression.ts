/**
 * Makes large values smaller, where it pays.
 *
 * Deflate, quickly: to undo it costs less than to parse the JSON that comes out. Large values are worked on off the event loop. What
 * saves less than 12 % is kept as it is, because every later read would pay for it.
 */
import { promisify } from 'node:util';
import { deflateRaw, deflateRawSync, inflateRaw, inflateRawSync } from 'node:zlib';

/** How the bytes of a value are kept. */
export type Compression = 'none' | 'deflate';

/** The smallest saving that is worth it, as a part of the whole. */
const WORTH = 0.12;
const LEVEL = 3;
/** Beyond this the work takes about a millisecond, and is done in another thread. */
const LARGE_BYTES = 128 * 1024;
/** What zlib takes at least for a piece of its output. */
const SMALLEST_CHUNK = 64;

const deflateAside = promisify(deflateRaw);
const inflateAside = promisify(inflateRaw);

/** Bytes that may be compressed. */
export interface Squeezed {
  readonly bytes: Buffer;
  readonly compression: Compression;
}

/** The bytes, compressed if they are more than `overBytes` and it pays. A promise only where the work is large. */
export function squeeze(bytes: Buffer, overBytes: number): Squeezed | Promise<Squeezed> {
  if (bytes.length <= overBytes) return { bytes, compression: 'none' };
  if (bytes.length > LARGE_BYTES) return squeezeAside(bytes);
  return better(bytes, deflateRawSync(bytes, { level: LEVEL, chunkSize: chunkFor(bytes.length) }));
}

/**
 * What squeeze() was given. A promise only where the work is large.
 *
 * @param sizeBytes How many bytes it was: no more are ever made, whatever the input says.
 * @throws what zlib throws, for bytes that are not deflated ones.
 */
export function expand(bytes: Buffer, compression: Compression, sizeBytes: number): Buffer | Promise<Buffer> {
  if (compression === 'none') return bytes;
  const options = { chunkSize: chunkFor(sizeBytes), maxOutputLength: Math.max(1, sizeBytes) };
  return sizeBytes > LARGE_BYTES ? inflateAside(bytes, options) : inflateRawSync(bytes, options);
}

async function squeezeAside(bytes: Buffer): Promise<Squeezed> {
  return better(bytes, await deflateAside(bytes, { level: LEVEL }));
}

function better(bytes: Buffer, smaller: Buffer): Squeezed {
  const pays = smaller.length <= bytes.length * (1 - WORTH);
  return pays ? { bytes: smaller, compression: 'deflate' } : { bytes, compression: 'none' };
}

function chunkFor(sizeBytes: number): number {
  return Math.max(SMALLEST_CHUNK, Math.min(sizeBytes, LARGE_BYTES) + 1);
}
