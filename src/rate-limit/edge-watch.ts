/**
 * Watches which keys of this process come near the edge of their limits, and tells Redis of them now and then.
 *
 * Promise: a call that is far from its limit costs a comparison, one that is near it or refused a look into a small map; nobody waits for
 * Redis. At most 50 keys are told of at a time. When there are more, every sixteenth call of a stranger puts out the one that was refused
 * least, so that those who come most are told of; the counts are close, not exact.
 * Redis down: what was seen meanwhile is not told.
 */
import type { Logger } from '../log.ts';
import type { ToldEdge } from './edge-keys.ts';
import type { ConsumeResult } from './limiter.ts';

/** What a watch is made of. */
export interface EdgeWatchParts {
  /** Tells Redis. */
  tell: (edges: readonly ToldEdge[]) => Promise<unknown>;
  log: Logger;
  /** How long it waits for more to tell. Default 5 s. */
  everyMs?: number | undefined;
}

const EVERY_MS = 5_000;
const MOST_EDGES = 50;
const STRANGERS = 16;
/** A key is near the edge when less than a fifth is left. */
const PARTS = 5;

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };
type Edge = Mutable<ToldEdge>;

/** What the limiters of a process have seen since Redis was told last. */
export class EdgeWatch {
  readonly #parts: EdgeWatchParts;
  readonly #books = new Map<string, Map<string, Edge>>();
  #edges: Edge[] = [];
  #strangers = 0;
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  constructor(parts: EdgeWatchParts) {
    this.#parts = parts;
  }

  /** What a limiter tells its calls to. */
  of(limiter: string): EdgeBook {
    const known = new Map<string, Edge>();
    this.#books.set(limiter, known);
    return new EdgeBook(known, (key) => this.#admit(limiter, key));
  }

  /** Tells Redis now. Never rejects. */
  async tell(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const edges = this.#edges;
    if (edges.length === 0 || this.#isStopped) return;
    this.#edges = [];
    for (const book of this.#books.values()) book.clear();
    try {
      await this.#parts.tell(edges);
    } catch (error) {
      this.#parts.log.debug({ err: error }, 'keys near the edge of their limits were not told');
    }
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  /** A place for the key; undefined when there is none for it. */
  #admit(limiter: string, key: string): Edge | undefined {
    const isFull = this.#edges.length >= MOST_EDGES;
    if (this.#isStopped || (isFull && ++this.#strangers % STRANGERS !== 0)) return undefined;
    const edge: Edge = { limiter, key, policy: '', used: 0, refused: 0 };
    if (isFull) this.#replaceQuietest(edge);
    else this.#edges.push(edge);
    this.#books.get(limiter)?.set(key, edge);
    this.#timer ??= setTimeout(() => void this.tell(), this.#parts.everyMs ?? EVERY_MS).unref();
    return edge;
  }

  #replaceQuietest(edge: Edge): void {
    let quietest = 0;
    for (let at = 1; at < this.#edges.length; at++) {
      if (refusedAt(this.#edges, at) < refusedAt(this.#edges, quietest)) quietest = at;
    }
    const out = this.#edges[quietest];
    if (out) this.#books.get(out.limiter)?.delete(out.key);
    this.#edges[quietest] = edge;
  }
}

/** The keys of one limiter that are watched. */
export class EdgeBook {
  readonly #known: ReadonlyMap<string, Edge>;
  readonly #admit: (key: string) => Edge | undefined;

  constructor(known: ReadonlyMap<string, Edge>, admit: (key: string) => Edge | undefined) {
    this.#known = known;
    this.#admit = admit;
  }

  /** A call was decided on. Of a limit of one it tells nothing that a call has used all of it. */
  decided(key: string, result: ConsumeResult): void {
    const { allowed, remaining, limit } = result;
    if (allowed && (remaining * PARTS >= limit || limit === 1)) return;
    const edge = this.#known.get(key) ?? this.#admit(key);
    if (edge === undefined) return;
    edge.policy = result.policy;
    edge.used = limit > 0 ? Math.min(1, Math.max(0, 1 - remaining / limit)) : 1;
    if (!allowed) edge.refused++;
  }

  /** A refusal was repeated. */
  repeated(key: string, result: ConsumeResult): void {
    const edge = this.#known.get(key);
    if (edge === undefined) this.decided(key, result);
    else edge.refused++;
  }
}

function refusedAt(edges: readonly Edge[], at: number): number {
  return edges[at]?.refused ?? 0;
}
