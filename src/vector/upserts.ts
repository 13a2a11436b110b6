/**
 * Documents on their way into an index, or out of it.
 *
 * What is unchanged is neither embedded nor written. Each document is planned from what is there, and written only if that is still there;
 * so an upsert that is cut off anywhere, and one that runs beside another, leaves each document whole or to be finished by the next.
 */
import type { Clock } from '../clock.ts';
import { isMillraceError, MillraceError } from '../errors.ts';
import type { PreparedDocument } from './documents.ts';
import { embedEach, type Embedder } from './embedder.ts';
import { isUnchanged, chunksToPut, planRemoval, planWrites, type WritePlan } from './write-plan.ts';
import type { WriteOutcome } from './scripts.ts';
import type { DocumentStore, StoredDocument } from './store.ts';
import type { VectorMeter } from './vector-metrics.ts';
import type { Version, Versions } from './versions.ts';

/** What became of a document. */
export interface UpsertOutcome {
  readonly id: string;
  readonly status: 'added' | 'updated' | 'unchanged' | 'failed';
  /** Chunks whose vector was asked of the embedder. */
  readonly embedded: number;
  /** Chunks that are no more. */
  readonly removedChunks: number;
  /** Why it failed. */
  readonly error?: MillraceError;
}

/** What came of an upsert. */
export interface UpsertReport {
  /** One for each item, in their order. */
  readonly outcomes: readonly UpsertOutcome[];
  readonly added: number;
  readonly updated: number;
  readonly unchanged: number;
  readonly failed: number;
  /** Chunks whose vector was asked of the embedder. */
  readonly embedded: number;
  /** Chunks that are no more. */
  readonly removedChunks: number;
}

/** What documents are written with. */
export interface UpsertParts {
  readonly name: string;
  readonly versions: Pick<Versions, 'current' | 'after'>;
  readonly store: DocumentStore;
  readonly embedder: Embedder | undefined;
  readonly clock: Clock;
  readonly meter: VectorMeter;
  /** Who builds the version that is written; left out for the one that is used. */
  readonly builder?: string;
}

/** How often a document is planned again because another write came in between. */
const MOST_PLANS = 30;
/** Between two looks whether a new version has taken over, and before a plan is made again. */
const PAUSE_MS = 20;
/** How long a write waits for the new version; the old one is sealed for a moment only. */
const MOST_SEALED_MS = 30_000;
/**
 * Pieces of a batch that are under way at once: so many that the server has something to do until an answer has brought the next one, and
 * so few that a question which is asked meanwhile on this connection is soon answered.
 */
const LANES = 6;
/**
 * What goes in one piece, which is one call, for the time of which the server does nothing else: five vectors of 384 numbers take it one
 * to five milliseconds, by how large the index is. It is less than the server reads, and then does, of one connection at once anyway.
 */
const NUMBERS_OF_PIECE = 2_048;
const STEPS_OF_PIECE = 16;
/** After so much text nothing more is taken: a text that comes with its vector may have 16 million. */
const CHARACTERS_OF_PIECE = 100_000;

/** A document under way. */
interface Job {
  readonly id: string;
  /** Undefined removes it. */
  readonly target: PreparedDocument | undefined;
  /** Whether what is there is to be touched at all. */
  readonly mayChange: (there: StoredDocument) => boolean;
  readonly vectors: Map<string, Float32Array>;
  embedded: number;
  plans: number;
}

/** A document that is being written. */
interface UnderWay {
  readonly job: Job;
  /** Made when its first write is about to be sent. */
  plan: WritePlan | undefined;
  /** The write that comes next. */
  at: number;
}

/** A write that is about to be sent. */
interface NextWrite {
  readonly entry: UnderWay;
  readonly plan: WritePlan;
  readonly write: WritePlan['writes'][number];
}

export class Upserts {
  readonly #parts: UpsertParts;

  constructor(parts: UpsertParts) {
    this.#parts = parts;
  }

  /** Writes documents, each with its own outcome, in the order given. No id may come twice. */
  async write(targets: readonly PreparedDocument[], signal?: AbortSignal): Promise<UpsertOutcome[]> {
    return this.#run(
      targets.map((target) => jobOf(target.id, target)),
      signal,
    );
  }

  /**
   * Removes documents.
   *
   * @param isMeant Asked of what is there when it is removed; a document may have become another one meanwhile.
   * @returns how many were there
   */
  async remove(ids: readonly string[], signal?: AbortSignal, isMeant: Job['mayChange'] = () => true): Promise<number> {
    const jobs = ids.map((id) => jobOf(id, undefined, isMeant));
    const outcomes = await this.#run(jobs, signal);
    const fault = outcomes.find(({ error }) => error)?.error;
    if (fault) throw fault;
    return outcomes.filter(({ status }) => status === 'updated').length;
  }

  async #run(jobs: readonly Job[], signal: AbortSignal | undefined): Promise<UpsertOutcome[]> {
    const outcomes = new Map<string, UpsertOutcome>();
    const { clock, versions } = this.#parts;
    const sealedUntilMs = clock.monotonicMs() + MOST_SEALED_MS;
    let pending = [...jobs];
    while (pending.length > 0) {
      signal?.throwIfAborted();
      const version = await versions.current();
      const { again, isClosed, isSealed } = await this.#tryAll(version, pending, outcomes, signal);
      if (isClosed) await versions.after(version);
      if ((isClosed || isSealed) && clock.monotonicMs() > sealedUntilMs) throw this.#sealed(version);
      if (again.length > 0) await clock.sleep(PAUSE_MS * Math.random(), { signal });
      pending = again;
    }
    return jobs.map(({ id }) => outcomes.get(id) as UpsertOutcome);
  }

  /** One attempt at each; those to be tried again are given back. */
  async #tryAll(
    version: Version,
    jobs: readonly Job[],
    outcomes: Map<string, UpsertOutcome>,
    signal: AbortSignal | undefined,
  ): Promise<{ again: Job[]; isClosed: boolean; isSealed: boolean }> {
    const { store } = this.#parts;
    const there = await store.read(
      version.place,
      jobs.map(({ id }) => id),
    );
    const changed = jobs.filter((job) => {
      const stored = there.get(job.id);
      const isSame = job.target ? isUnchanged(job.target, stored) : !stored || !job.mayChange(stored);
      if (isSame) outcomes.set(job.id, done(job, job.plans > 0 && job.target ? 'updated' : 'unchanged', 0));
      return !isSame;
    });
    const ready = await this.#embed(changed, there, outcomes, signal);
    const again: Job[] = [];
    let [isClosed, isSealed] = [false, false];
    await this.#writeAll(version, ready, there, (job, plan, outcome) => {
      if (outcome === 'written') {
        outcomes.set(job.id, done(job, job.target && !there.has(job.id) ? 'added' : 'updated', plan.removed));
        return;
      }
      if (outcome instanceof Error) return void outcomes.set(job.id, failed(job, outcome));
      isClosed ||= outcome === 'closed';
      isSealed ||= outcome === 'sealed';
      if (outcome === 'changed' && ++job.plans > MOST_PLANS) {
        const error = new MillraceError(
          'REDIS_FAILED',
          `document ${job.id}: others write it without a pause; gave up`,
          { id: job.id },
        );
        return void outcomes.set(job.id, failed(job, error));
      }
      again.push(job);
    });
    return { again, isClosed, isSealed };
  }

  /** Asks the embedder for what is new, all documents at once. Those whose texts were refused fail, the others go on. */
  async #embed(
    jobs: readonly Job[],
    there: ReadonlyMap<string, StoredDocument>,
    outcomes: Map<string, UpsertOutcome>,
    signal: AbortSignal | undefined,
  ): Promise<Job[]> {
    const texts = new Map<string, Array<{ job: Job; chunkId: string }>>();
    for (const job of jobs) {
      const { target, vectors } = job;
      if (!target) continue;
      try {
        for (const { id: chunkId, text } of chunksToPut(target, there.get(job.id))) {
          if (vectors.has(chunkId)) continue;
          const given = target.given.get(chunkId);
          if (given) vectors.set(chunkId, given);
          else if (text !== undefined) texts.set(text, [...(texts.get(text) ?? []), { job, chunkId }]);
        }
      } catch (error) {
        outcomes.set(job.id, failed(job, error)); // The text could not be cut.
      }
    }
    const { embedder, meter } = this.#parts;
    const ready = (): Job[] => jobs.filter(({ id }) => !outcomes.has(id));
    if (texts.size === 0 || !embedder) return ready();
    try {
      const embedded = await embedEach(embedder, [...texts.keys()], { kind: 'document', ...(signal && { signal }) });
      for (const [at, takers] of [...texts.values()].entries()) {
        const vector = embedded[at] as Float32Array | MillraceError;
        for (const { job, chunkId } of takers) {
          if (isMillraceError(vector)) outcomes.set(job.id, failed(job, vector));
          else job.vectors.set(chunkId, vector);
          job.embedded++;
        }
      }
      meter.embedded(texts.size);
    } catch (error) {
      signal?.throwIfAborted();
      for (const { job } of [...texts.values()].flat()) outcomes.set(job.id, failed(job, error));
    }
    return ready();
  }

  /** Sends the writes of all documents in pieces, those of one document one after another. */
  async #writeAll(
    version: Version,
    jobs: readonly Job[],
    there: ReadonlyMap<string, StoredDocument>,
    onEnd: (job: Job, plan: WritePlan, outcome: WriteOutcome | Error) => void,
  ): Promise<void> {
    const waiting: UnderWay[] = jobs.map((job) => ({ job, plan: undefined, at: 0 }));
    const end = new AbortController();
    const lane = async (): Promise<void> => {
      while (waiting.length > 0 && !end.signal.aborted) {
        const piece = takePiece(version, waiting, there);
        for (const [entry, plan, outcome] of await this.#writePiece(version, piece)) {
          if (outcome === 'written' && ++entry.at < plan.writes.length) waiting.unshift(entry);
          else onEnd(entry.job, plan, outcome);
        }
      }
    };
    try {
      await Promise.all(Array.from({ length: LANES }, lane));
    } catch (error) {
      end.abort(); // The other lanes end too.
      throw error;
    }
  }

  async #writePiece({ place }: Version, piece: readonly NextWrite[]) {
    const writes = piece.map(({ write }) => write);
    const outcomes = await this.#parts.store.write(place, writes, this.#parts.builder ?? '');
    return piece.map(({ entry, plan }, index) => [entry, plan, outcomes[index] as WriteOutcome | Error] as const);
  }

  #sealed({ number }: Version): MillraceError {
    const { name } = this.#parts;
    return new MillraceError(
      'INDEX_BUSY',
      `vector index ${name}: version ${number} takes no writes and none has taken over; whoever rebuilt it may have died. Call rebuild() again`,
      { name, version: number },
    );
  }
}

/** The next writes of those that wait, as many as go in a piece; that of a long document goes by itself. */
function takePiece(
  { place, engine, definition }: Version,
  waiting: UnderWay[],
  there: ReadonlyMap<string, StoredDocument>,
): NextWrite[] {
  const piece: NextWrite[] = [];
  let [numbers, steps, characters] = [0, 0, 0];
  const isFull = (): boolean => steps >= STEPS_OF_PIECE || characters >= CHARACTERS_OF_PIECE;
  for (let entry = waiting[0]; entry && !isFull(); entry = waiting[0]) {
    const { id, target, vectors } = entry.job;
    numbers += vectors.size * definition.dimensions;
    if (piece.length > 0 && numbers > NUMBERS_OF_PIECE) break;
    waiting.shift();
    const stored = there.get(id);
    const plan = (entry.plan ??= target
      ? planWrites(place, engine, target, stored, vectors)
      : planRemoval(place, engine, stored as StoredDocument));
    const write = plan.writes[entry.at] as NextWrite['write'];
    piece.push({ entry, plan, write });
    steps += write.steps.length;
    for (const step of write.steps) for (const part of step) if (typeof part === 'string') characters += part.length;
  }
  return piece;
}

function jobOf(id: string, target?: PreparedDocument, mayChange: Job['mayChange'] = () => true): Job {
  return { id, target, mayChange, vectors: new Map(), embedded: 0, plans: 0 };
}

function done(job: Job, status: UpsertOutcome['status'], removedChunks: number): UpsertOutcome {
  return { id: job.id, status, embedded: job.embedded, removedChunks };
}

function failed(job: Job, error: unknown): UpsertOutcome {
  const explained = isMillraceError(error)
    ? error
    : new MillraceError(
        'EMBEDDING_FAILED',
        `document ${job.id}: ${error instanceof Error ? error.message : String(error)}`,
        {
          id: job.id,
          cause: error,
        },
      );
  return { id: job.id, status: 'failed', embedded: job.embedded, removedChunks: 0, error: explained };
}

/** Whether something of it is new in the index. */
export function isWritten({ status }: UpsertOutcome): boolean {
  return status === 'added' || status === 'updated';
}

export function reportOf(outcomes: readonly UpsertOutcome[]): UpsertReport {
  const counts = { added: 0, updated: 0, unchanged: 0, failed: 0 };
  let [embedded, removedChunks] = [0, 0];
  for (const outcome of outcomes) {
    counts[outcome.status]++;
    embedded += outcome.embedded;
    removedChunks += outcome.removedChunks;
  }
  return { outcomes, ...counts, embedded, removedChunks };
}
