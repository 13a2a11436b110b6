/** The items that an app gives, made into documents as they shall be. */
import { describeValue, isMillraceError, MillraceError } from '../errors.ts';
import type { Chunker } from './chunker.ts';
import type { Embedder } from './embedder.ts';
import { hashOf } from './manifest.ts';
import { checkMetadata, type CompiledSchema, type Metadata, type VectorSchema } from './schema.ts';
import { bytesOf, checkVector, type VectorLike } from './vectors.ts';
import type { Chunk, TargetDocument } from './write-plan.ts';

/** A document for the index: a text, which is split and embedded, or a vector, or a vector with the text that it stands for. */
export interface VectorItem<Schema extends VectorSchema = VectorSchema> {
  /** 1 to 512 characters. */
  id: string;
  text?: string | undefined;
  vector?: VectorLike | undefined;
  metadata?: Metadata<Schema> | undefined;
}

/** A document as it shall be, with the vectors of its chunks where they are known. */
export interface PreparedDocument extends TargetDocument {
  readonly given: ReadonlyMap<string, Float32Array>;
}

/** What documents are made with. */
export interface DocumentParts {
  readonly name: string;
  readonly schema: CompiledSchema;
  readonly dimensions: number;
  readonly embedder: Embedder | undefined;
  readonly chunker: Chunker;
}

const LONGEST_ID = 512;
/** Characters of a text; longer ones are better split by whoever knows what is in them. */
const LONGEST_TEXT = 16_000_000;
/** Of a chunk's hash: enough that no two chunks of one document share it. */
const CHUNK_HASH_BYTES = 9;
const CONTENT_HASH_BYTES = 18;
/** The one chunk of a vector that was given. */
export const GIVEN = '0';

/** @throws MillraceError INPUT_INVALID, VECTOR_INVALID, PAYLOAD_TOO_LARGE */
export function prepareDocument(item: VectorItem, parts: DocumentParts): PreparedDocument {
  if (typeof item !== 'object' || item === null) {
    throw new MillraceError('INPUT_INVALID', `a document: expected an object, got ${describeValue(item)}`, {});
  }
  const { id, text, vector } = item;
  checkId(id);
  const metadata = checkMetadata(parts.schema, item.metadata ?? {}, `the metadata of ${id}`) as Record<string, unknown>;
  const metadataJson = canonical(metadata, parts.schema);
  if (text !== undefined) checkText(id, text);
  if (vector !== undefined) {
    const own = checkVector(vector, parts.dimensions, `the vector of ${id}`);
    const checked = own === vector ? own.slice() : own; // The app may use its memory for the next one.
    const contentHash = hashOf(CONTENT_HASH_BYTES, 'vector', bytesOf(checked), text ?? '');
    const chunks = [{ id: GIVEN, index: 0, text }];
    return { id, contentHash, isText: false, metadata, metadataJson, chunks, given: new Map([[GIVEN, checked]]) };
  }
  if (text === undefined) throw invalid(id, 'expected a text or a vector, got neither');
  if (text.trim() === '') throw invalid(id, 'expected a text with something in it, got nothing but white space');
  if (!parts.embedder) throw invalid(id, `has a text and no vector, and index ${parts.name} has no embedder`);
  const contentHash = hashOf(CONTENT_HASH_BYTES, 'text', parts.embedder.id, parts.chunker.id, text);
  let chunks: readonly Chunk[] | undefined;
  return {
    id,
    contentHash,
    isText: true,
    metadata,
    metadataJson,
    // Split only when it is needed: most documents of most upserts are unchanged.
    get chunks() {
      chunks ??= chunksOf(splitBy(parts.chunker, id, text));
      return chunks;
    },
    given: new Map(),
  };
}

/** @throws MillraceError INPUT_INVALID */
export function checkId(id: unknown): asserts id is string {
  if (typeof id === 'string' && id !== '' && id.length <= LONGEST_ID && !/\p{Surrogate}/u.test(id)) return;
  throw new MillraceError(
    'INPUT_INVALID',
    `the id of a document: expected 1 to ${LONGEST_ID} characters, got ${describeValue(id)}`,
    { id },
  );
}

/** What the chunker makes of one text; it may be somebody's own. @throws MillraceError INPUT_INVALID */
function splitBy(chunker: Chunker, id: string, text: string): readonly string[] {
  let parts: unknown;
  try {
    parts = chunker.split(text);
  } catch (cause) {
    if (isMillraceError(cause)) throw cause;
    const told = cause instanceof Error ? cause.message : String(cause);
    throw new MillraceError('INPUT_INVALID', `document ${id}: chunker ${chunker.id} failed: ${told}`, { id, cause });
  }
  const other = Array.isArray(parts) ? parts.find((part) => typeof part !== 'string') : parts;
  if (!Array.isArray(parts) || other !== undefined) {
    throw invalid(id, `chunker ${chunker.id}: expected texts, got ${describeValue(other)}`);
  }
  return parts as string[];
}

/** A text that comes twice in a document is one chunk, at its first place. */
export function chunksOf(texts: readonly string[]): Chunk[] {
  const chunks = new Map<string, Chunk>();
  for (const text of texts) {
    const id = hashOf(CHUNK_HASH_BYTES, text);
    if (!chunks.has(id)) chunks.set(id, { id, index: chunks.size, text });
  }
  return [...chunks.values()];
}

/** The fields in the schema's order, so that the same metadata is the same text. */
export function canonical(metadata: Readonly<Record<string, unknown>>, { fields }: CompiledSchema): string {
  const sorted: Record<string, unknown> = {};
  for (const { name, type } of fields.values()) {
    const value = metadata[name];
    if (value === undefined) continue;
    if (type === 'geo') {
      const { lat, lon } = value as { lat: number; lon: number };
      sorted[name] = { lat, lon };
    } else {
      sorted[name] = value;
    }
  }
  return JSON.stringify(sorted);
}

function checkText(id: string, text: unknown): asserts text is string {
  if (typeof text !== 'string') throw invalid(id, `text: expected a string, got ${describeValue(text)}`);
  if (text.length <= LONGEST_TEXT) return;
  throw new MillraceError(
    'PAYLOAD_TOO_LARGE',
    `the text of ${id} has ${text.length} characters, ${LONGEST_TEXT} are allowed; split it into several documents`,
    { id, length: text.length, longest: LONGEST_TEXT },
  );
}

function invalid(id: string, fault: string): MillraceError {
  return new MillraceError('INPUT_INVALID', `document ${id}: ${fault}`, { id });
}
