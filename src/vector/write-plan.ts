/**
 * What a document shall be, against what is there: the writes that lead from one to the other.
 *
 * A long document takes several writes, so that none holds up the server for long. Until the last one its manifest is unfinished and names
 * every chunk that may be there by then, with each metadata that they may be listed under: whoever comes after a crash, with the same
 * document or another one, finishes or removes all of it.
 */
import type { ChunkWrite, DocumentWrite, Engine, Metadata } from './engine.ts';
import { chunkOf, shardOf, type Place } from './layout.ts';
import { encodeChunks, encodeManifest, newRevision } from './manifest.ts';
import type { PlannedWrite, StoredDocument } from './store.ts';

/** How many chunks one write puts or removes; each takes the server up to half a millisecond. */
const MOST_IN_ONE_WRITE = 32;

/** A part of a document. */
export interface Chunk {
  readonly id: string;
  readonly index: number;
  readonly text: string | undefined;
}

/** A document as it shall be. */
export interface TargetDocument {
  readonly id: string;
  readonly contentHash: string;
  /** Whether its chunks are of a text, and not a vector that was given. */
  readonly isText: boolean;
  readonly metadata: Metadata;
  /** The metadata as canonical JSON. */
  readonly metadataJson: string;
  readonly chunks: readonly Chunk[];
}

/** The writes of a document, in order, and what they do. */
export interface WritePlan {
  readonly writes: readonly PlannedWrite[];
  readonly removed: number;
}

/**
 * Which chunks need a vector: those that are not there, or may not be. The id of a chunk of text tells what is in it; that of a vector
 * that was given does not.
 */
export function chunksToPut(target: TargetDocument, there: StoredDocument | undefined): Chunk[] {
  const { chunks, contentHash, isText } = target;
  const { contentHash: hashThere } = there?.manifest ?? {};
  if (!there || hashThere === undefined) return [...chunks];
  if (!isText) return hashThere === contentHash ? [] : [...chunks];
  const known = new Set(there.chunkIds);
  return chunks.filter(({ id }) => !known.has(id));
}

/** Whether the document is there just so. */
export function isUnchanged(target: TargetDocument, there: StoredDocument | undefined): boolean {
  return there?.manifest.contentHash === target.contentHash && there.manifest.metadata === target.metadataJson;
}

/**
 * The writes that make a document of what is there.
 *
 * @param vectors By chunk; a chunk that has none here keeps the one that is there.
 */
export function planWrites(
  place: Place,
  engine: Engine,
  target: TargetDocument,
  there: StoredDocument | undefined,
  vectors: ReadonlyMap<string, Float32Array>,
): WritePlan {
  const before = metadataOf(there);
  const wanted = new Set(target.chunks.map(({ id }) => id));
  const removed = (there?.chunkIds ?? []).filter((id) => !wanted.has(id));
  const staysSo = there?.manifest.contentHash !== undefined && there.manifest.metadata === target.metadataJson;
  const put = target.chunks
    .filter(({ id, index }) => vectors.has(id) || !staysSo || there.chunkIds[index] !== id)
    .map(({ id, index, text }): ChunkWrite => ({
      chunk: chunkOf(target.id, id),
      index,
      text,
      vector: vectors.get(id),
    }));
  const remove = removed.map((id) => chunkOf(target.id, id));
  const all = encodeChunks([...new Set([...(there?.chunkIds ?? []), ...wanted])]);
  const whole = encodeChunks(target.chunks.map(({ id }) => id));
  const metadataLines = [...new Set([...metadataLinesOf(there), target.metadataJson])];
  const writes: PlannedWrite[] = [];
  let seen = there?.manifest.revision ?? '';
  let listThere = encodeChunks(there?.chunkIds ?? []).list;
  const shard = shardOf(place, target.id);
  const parts = split({ id: target.id, put, remove, metadata: target.metadata, before });
  for (const [at, part] of parts.entries()) {
    const isLast = at === parts.length - 1;
    const revision = newRevision();
    const chunks = isLast ? whole : all;
    const stored = encodeManifest({
      revision,
      contentHash: isLast ? target.contentHash : undefined,
      metadata: isLast ? target.metadataJson : metadataLines.join('\n'),
      chunks,
      listThere,
    });
    listThere = chunks.list;
    writes.push({ id: target.id, seen, stored, steps: engine.steps(shard, part) });
    seen = revision;
  }
  return { writes, removed: removed.length };
}

/** The writes that remove a document. */
export function planRemoval(place: Place, engine: Engine, there: StoredDocument): WritePlan {
  const { id, chunkIds, manifest } = there;
  const remove = chunkIds.map((chunkId) => chunkOf(id, chunkId));
  const parts = split({ id, put: [], remove, metadata: {}, before: metadataOf(there) });
  const shard = shardOf(place, id);
  let seen = manifest.revision;
  const chunks = encodeChunks(chunkIds);
  const writes = parts.map((part, at): PlannedWrite => {
    const revision = newRevision();
    const isLast = at === parts.length - 1;
    const unfinished = {
      revision,
      contentHash: undefined,
      metadata: manifest.metadata,
      chunks,
      listThere: chunks.list,
    };
    const write = {
      id,
      seen,
      stored: isLast ? undefined : encodeManifest(unfinished),
      steps: engine.steps(shard, part),
    };
    seen = revision;
    return write;
  });
  return { writes, removed: remove.length };
}

function split(write: DocumentWrite): DocumentWrite[] {
  const parts: DocumentWrite[] = [];
  for (let at = 0; at < Math.max(1, write.put.length); at += MOST_IN_ONE_WRITE) {
    parts.push({ ...write, put: write.put.slice(at, at + MOST_IN_ONE_WRITE), remove: [] });
  }
  const last = parts.at(-1) as DocumentWrite;
  const room = MOST_IN_ONE_WRITE - last.put.length;
  parts[parts.length - 1] = { ...last, remove: write.remove.slice(0, room) };
  for (let at = room; at < write.remove.length; at += MOST_IN_ONE_WRITE) {
    parts.push({ ...write, put: [], remove: write.remove.slice(at, at + MOST_IN_ONE_WRITE) });
  }
  return parts;
}

function metadataLinesOf(there: StoredDocument | undefined): string[] {
  return there ? there.manifest.metadata.split('\n') : [];
}

function metadataOf(there: StoredDocument | undefined): Metadata[] {
  return metadataLinesOf(there).map((line) => JSON.parse(line) as Metadata);
}
