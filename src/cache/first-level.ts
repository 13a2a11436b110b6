/**
 * The first level: values in the memory of this process, limited by their bytes, the least recently used go first.
 *
 * Each namespace has a shelf with its own map, so that a read looks up the caller's key as it is; all shelves share one limit. A value stays no
 * longer than what was left of its time when it was read. Values that are past their time go when they are met, or when room is needed.
 */
import { LRUCache } from 'lru-cache';
import { earlyWindowMs } from './early-refresh.ts';

/** How callers are kept from changing one another's values. */
export type Isolation = 'frozen' | 'cloned' | 'shared';

/** What a value is kept with. All times are those of the monotonic clock. */
export interface KeptFacts {
  readonly key: string;
  readonly value: unknown;
  readonly sizeBytes: number;
  readonly tags: readonly string[];
  /** Until then it is served as it is. */
  readonly freshUntilMs: number;
  /** Until then it may be served while another one is loaded. */
  readonly staleUntilMs: number;
  /** How long its load took. */
  readonly deltaMs: number;
  /** How eagerly it is loaded again before its end. */
  readonly beta: number;
  /** Tells it from every other value of the key; empty where that is not known. */
  readonly id: string;
  /** Whether it is what a schema has made, or nothing, which none is asked about. */
  readonly isChecked: boolean;
}

/** A value on a shelf. */
export class Kept {
  readonly key: string;
  readonly value: unknown;
  readonly sizeBytes: number;
  readonly tags: readonly string[];
  readonly freshUntilMs: number;
  readonly staleUntilMs: number;
  readonly deltaMs: number;
  readonly beta: number;
  readonly id: string;
  readonly isChecked: boolean;
  /** Until then it is served without another thought: no early load can be due, or nobody may load now. */
  quietUntilMs: number;
  /** From then on a read makes it the latest used again; at each read that would cost more than the rest of a hit. */
  useAtMs = 0;
  readonly #ready: Promise<unknown> | undefined;

  constructor(facts: KeptFacts, isolation: Isolation) {
    this.key = facts.key;
    this.value = isolation === 'frozen' ? deepFreeze(facts.value) : facts.value;
    this.sizeBytes = facts.sizeBytes;
    this.tags = facts.tags;
    this.freshUntilMs = facts.freshUntilMs;
    this.staleUntilMs = Math.max(facts.freshUntilMs, facts.staleUntilMs);
    this.deltaMs = facts.deltaMs;
    this.beta = facts.beta;
    this.id = facts.id;
    this.isChecked = facts.isChecked;
    this.quietUntilMs = facts.freshUntilMs - earlyWindowMs(facts.deltaMs, facts.beta);
    this.#ready = isolation === 'cloned' ? undefined : Promise.resolve(this.value);
  }

  /** The value for one caller. */
  give(): Promise<unknown> {
    return this.#ready ?? cloned(this.value);
  }
}

/** What cannot be cloned rejects, and throws at nobody. */
async function cloned(value: unknown): Promise<unknown> {
  return copyOf(value);
}

/** A copy for one caller; of a Buffer too, which would come back as a Uint8Array. */
export function copyOf(value: unknown): unknown {
  return Buffer.isBuffer(value) ? Buffer.from(value) : structuredClone(value);
}

/** What an entry costs beyond its value: the objects that hold it, and its place in three maps. */
const OVERHEAD_BYTES = 400;
/** Which of two values was used later is told apart no finer than that. */
const USE_RESOLUTION_MS = 100;

/** The memory that all shelves share. */
export class FirstLevel {
  readonly isolation: Isolation;
  readonly #order: LRUCache<Kept, Shelf>;
  /** How many values had to go for others. */
  evictions = 0;

  constructor({ maxBytes, isolation }: { maxBytes: number; isolation: Isolation }) {
    this.isolation = isolation;
    this.#order = new LRUCache<Kept, Shelf>({
      maxSize: maxBytes,
      dispose: (shelf, kept, reason) => {
        if (reason !== 'evict') return;
        this.evictions++;
        shelf.forget(kept);
      },
    });
  }

  get bytes(): number {
    return this.#order.calculatedSize;
  }

  get size(): number {
    return this.#order.size;
  }

  use(kept: Kept, nowMs: number): void {
    kept.useAtMs = nowMs + USE_RESOLUTION_MS;
    this.#order.get(kept);
  }

  /** Whether there was room for it. */
  add(kept: Kept, shelf: Shelf): boolean {
    this.#order.set(kept, shelf, { size: Math.ceil(kept.sizeBytes) + 2 * kept.key.length + OVERHEAD_BYTES });
    return this.#order.has(kept);
  }

  remove(kept: Kept): void {
    this.#order.delete(kept);
  }
}

/** The values of one namespace. */
export class Shelf {
  readonly #level: FirstLevel;
  readonly #kept = new Map<string, Kept>();
  readonly #byTag = new Map<string, Set<Kept>>();

  constructor(level: FirstLevel) {
    this.#level = level;
  }

  get isEmpty(): boolean {
    return this.#kept.size === 0;
  }

  /** What is there of the key, whatever the time. */
  get(key: string): Kept | undefined {
    return this.#kept.get(key);
  }

  /** The value was read. */
  use(kept: Kept, nowMs: number): void {
    if (nowMs >= kept.useAtMs) this.#level.use(kept, nowMs);
  }

  set(facts: KeptFacts): Kept {
    this.delete(facts.key);
    const kept = new Kept(facts, this.#level.isolation);
    this.#kept.set(kept.key, kept);
    for (const tag of kept.tags) {
      const tagged = this.#byTag.get(tag);
      if (tagged) tagged.add(kept);
      else this.#byTag.set(tag, new Set([kept]));
    }
    if (!this.#level.add(kept, this)) this.forget(kept);
    return kept;
  }

  delete(key: string): void {
    const kept = this.#kept.get(key);
    if (kept) this.#drop(kept);
  }

  deleteTag(tag: string): void {
    for (const kept of this.#byTag.get(tag) ?? []) this.#drop(kept);
  }

  clear(): void {
    for (const kept of this.#kept.values()) this.#level.remove(kept);
    this.#kept.clear();
    this.#byTag.clear();
  }

  /** For the level alone: it has no room for the value any more. */
  forget(kept: Kept): void {
    if (this.#kept.get(kept.key) === kept) this.#kept.delete(kept.key);
    for (const tag of kept.tags) {
      const tagged = this.#byTag.get(tag);
      if (tagged?.delete(kept) && tagged.size === 0) this.#byTag.delete(tag);
    }
  }

  #drop(kept: Kept): void {
    this.#level.remove(kept);
    this.forget(kept);
  }
}

/** Freezes an object and all that it holds. Typed arrays cannot be frozen and stay as they are. */
export function deepFreeze(value: unknown): unknown {
  if (typeof value === 'object' && value !== null) freezeObject(value);
  return value;
}

function freezeObject(value: object): void {
  if (ArrayBuffer.isView(value) || Object.isFrozen(value)) return;
  const inner: readonly unknown[] = Array.isArray(value) ? value : Object.values(value); // Of a frozen one it takes longer.
  Object.freeze(value);
  for (let index = 0; index < inner.length; index++) {
    const each = inner[index];
    if (typeof each === 'object' && each !== null) freezeObject(each);
  }
}

/** The same, in half of the time, for what JSON.parse() has made: plain objects and arrays, each of them held once. */
export function freezeParsed(value: unknown): unknown {
  if (typeof value === 'object' && value !== null) freezeTree(value);
  return value;
}

/** From the leaves on: of a frozen object it takes longer to say what it holds. */
function freezeTree(value: object): void {
  if (Array.isArray(value)) {
    const items: readonly unknown[] = value;
    for (let index = 0; index < items.length; index++) {
      const each = items[index];
      if (typeof each === 'object' && each !== null) freezeTree(each);
    }
  } else {
    for (const name in value) {
      const each = (value as Record<string, unknown>)[name];
      if (typeof each === 'object' && each !== null && Object.hasOwn(value, name)) freezeTree(each);
    }
  }
  Object.freeze(value);
}
