/**
 * What is known of a document that is in the index: kept beside its chunks, and written after them.
 *
 *   REVISION CONTENT CHUNKS
 *   METADATA
 *
 * The revision is new with each write, so that whoever planned one sees that another came first. CONTENT is the hash of the text or
 * vector with the ids of embedder and chunker, or `-` while a long document is only partly written: then CHUNKS are all that may
 * be there, and the next upsert finishes or replaces it. More chunks than a few are in a list of their own (`*`), so that reading
 * manifests stays cheap.
 */
import { createHash, randomBytes } from 'node:crypto';

/** A document as it is in the index. */
export interface Manifest {
  readonly revision: string;
  /** Undefined while it is only partly written. */
  readonly contentHash: string | undefined;
  /** The metadata as JSON; while it is only partly written, one line for each metadata that its chunks may have. */
  readonly metadata: string;
  /** Undefined when they are in the list. */
  readonly chunkIds: readonly string[] | undefined;
}

const MOST_INLINE = 8;
const UNFINISHED = '-';
const LISTED = '*';
const REVISION_BYTES = 9;
/** Drawn for many revisions at once. */
const DRAWN_BYTES = 128 * REVISION_BYTES;

let drawn = randomBytes(DRAWN_BYTES);
let drawnAt = 0;

/** Stands for a list that is there already, and stays as it is. */
const KEPT_LIST = '*';

/** The chunks of a document, as its manifest and its list have them; the list is empty where the manifest has all. */
export interface StoredChunks {
  readonly inManifest: string;
  readonly list: string;
}

/** A manifest and a list as they are stored. */
export interface StoredManifest {
  readonly manifest: string;
  readonly list: string;
}

/** In a list of their own where they are many. */
export function encodeChunks(chunkIds: readonly string[]): StoredChunks {
  const all = chunkIds.join(',');
  return chunkIds.length <= MOST_INLINE ? { inManifest: all, list: '' } : { inManifest: LISTED, list: all };
}

/** @param entry `listThere`: the list that is there by then; the same is not sent again. */
export function encodeManifest(entry: {
  revision: string;
  contentHash: string | undefined;
  metadata: string;
  chunks: StoredChunks;
  listThere: string;
}): StoredManifest {
  const { revision, contentHash = UNFINISHED, metadata, chunks, listThere } = entry;
  const { inManifest, list } = chunks;
  return {
    manifest: `${revision} ${contentHash} ${inManifest}\n${metadata}`,
    list: list !== '' && list === listThere ? KEPT_LIST : list,
  };
}

export function decodeManifest(stored: string): Manifest {
  const end = stored.indexOf('\n');
  const [revision = '', contentHash = UNFINISHED, chunks = ''] = stored.slice(0, end).split(' ');
  return {
    revision,
    contentHash: contentHash === UNFINISHED ? undefined : contentHash,
    metadata: stored.slice(end + 1),
    chunkIds: chunks === LISTED ? undefined : splitList(chunks),
  };
}

/** The metadata that readers are given. */
export function firstMetadata({ metadata }: Manifest): string {
  const end = metadata.indexOf('\n');
  return end === -1 ? metadata : metadata.slice(0, end);
}

export function splitList(list: string): string[] {
  return list === '' ? [] : list.split(',');
}

export function newRevision(): string {
  if (drawnAt === DRAWN_BYTES) [drawn, drawnAt] = [randomBytes(DRAWN_BYTES), 0];
  return drawn.toString('base64url', drawnAt, (drawnAt += REVISION_BYTES));
}

/** A hash of parts, no two lists of which are taken for each other. */
export function hashOf(bytes: number, ...parts: ReadonlyArray<string | Uint8Array>): string {
  const hash = createHash('sha256');
  for (const part of parts) {
    const size = typeof part === 'string' ? Buffer.byteLength(part) : part.byteLength;
    hash.update(`${size}:`).update(part);
  }
  return hash.digest().subarray(0, bytes).toString('base64url');
}
