/** The acts of an index that must be atomic, each one script; what they do to the keys stands at the top of each file. */
import { defineScript } from '../redis/script.ts';

/**
 * What became of a write: `changed` when another one came in between; `sealed` and `closed` while and after a new version takes over. To
 * whoever builds a version it is `closed` once another process builds it.
 */
export type WriteOutcome = 'written' | 'changed' | 'sealed' | 'closed';

export const writeDocuments = defineScript({
  file: 'vector/write-documents.lua',
  keys: ['manifests', 'lists', 'phase', 'seal', 'dirty', '...targets'],
  args: ['builder', 'documents', '...blobs'],
  reply: (told: WriteOutcome | ReadonlyArray<WriteOutcome | Error>) => told,
});

export const openIndex = defineScript({
  file: 'vector/open-index.lua',
  keys: ['record'],
  args: ['definition'],
  reply: ([began, version, definition]: [number, string, string]) => ({
    began: began === 1,
    version: Number(version),
    definition,
  }),
});

export const nextVersion = defineScript({
  file: 'vector/next-version.lua',
  keys: ['record'],
  args: ['definition'],
  reply: (version: string) => Number(version),
});

export const buildShard = defineScript({
  file: 'vector/build-shard.lua',
  keys: ['phase', 'seal', 'dirty'],
  args: ['act', 'who', 'number', 'ttlMs'],
  reply: (isSo: number) => isSo === 1,
});

export const takeNoted = defineScript({
  file: 'vector/take-noted.lua',
  keys: ['phase', 'dirty'],
  args: ['who', 'most'],
  reply: (ids: string[] | null) => ids ?? undefined,
});

export const retireVersion = defineScript({
  file: 'vector/retire-version.lua',
  keys: ['record'],
  args: ['number'],
  reply: (wasThere: number) => wasThere === 1,
});

export const takeOver = defineScript({
  file: 'vector/take-over.lua',
  keys: ['record'],
  args: ['old', 'new'],
  reply: (isSo: number) => isSo === 1,
});

export const keepLease = defineScript({
  file: 'vector/keep-lease.lua',
  keys: ['lease'],
  args: ['who', 'ttlMs'],
  reply: (isHeld: number) => isHeld === 1,
});

/** A chunk that was found, as it is stored; the manifest and the text are empty where there are none. */
export interface NearChunk {
  readonly chunk: string;
  readonly score: number;
  readonly manifest: string;
  readonly text: string;
}

export const searchNear = defineScript({
  file: 'vector/search-near.lua',
  keys: ['vectors', 'manifests', 'texts'],
  args: ['query', 'count', 'ef', 'withText'],
  reply: (flat: string[]): NearChunk[] => {
    const found: NearChunk[] = [];
    for (let at = 0; at + 4 <= flat.length; at += 4) {
      const [chunk, score, manifest, text] = flat.slice(at, at + 4) as [string, string, string, string];
      found.push({ chunk, score: Number(score), manifest, text });
    }
    return found;
  },
});

/** The vector of a chunk as a vector set keeps it. */
export interface RawVector {
  readonly chunk: string;
  readonly kind: string;
  readonly bytes: Buffer;
  readonly norm: number;
  /** What 127 stands for, where a byte is kept of each number. */
  readonly range: number;
}

/** What an exact pass found. */
export interface ExactPass {
  /** How many chunks the smallest alternative has. */
  readonly members: number;
  /** Which alternative that is. */
  readonly chosen: number;
  /** None when there are more members than were asked for. */
  readonly vectors: readonly RawVector[];
}

export const exactPass = defineScript({
  file: 'vector/exact-pass.lua',
  keys: ['vectors', '...indexes'],
  args: ['most', 'plan'],
  binary: true,
  reply: ([members, chosen, ...flat]: [number, number, ...Buffer[]]): ExactPass => ({
    members,
    chosen: chosen - 1,
    vectors: readVectors(flat),
  }),
});

/** The values that stand for one vector. */
const FIELDS = 5;

function readVectors(flat: readonly Buffer[]): RawVector[] {
  const vectors: RawVector[] = [];
  for (let at = 0; at + FIELDS <= flat.length; at += FIELDS) {
    const [chunk, kind, bytes, norm, range] = flat.slice(at, at + FIELDS) as [Buffer, Buffer, Buffer, Buffer, Buffer];
    vectors.push({ chunk: String(chunk), kind: String(kind), bytes, norm: Number(norm), range: Number(range) });
  }
  return vectors;
}
