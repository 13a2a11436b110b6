/** The vector indexes of one process, over its connections. */
import { systemClock, type Clock } from '../clock.ts';
import { MillraceError } from '../errors.ts';
import { silentLogger, type Logger } from '../log.ts';
import type { Capabilities } from '../redis/capabilities.ts';
import { Guard } from '../redis/guard.ts';
import { DEFAULT_PREFIX } from '../redis/keys.ts';
import type { Definition } from './definition.ts';
import type { Embedder } from './embedder.ts';
import type { Engine } from './engine.ts';
import { QueryEngine } from './engines/query-engine.ts';
import { VectorSets } from './engines/vector-sets.ts';
import { Layout } from './layout.ts';
import { parseIndexOptions, parseVectorsOptions, type IndexOptions, type VectorsOptions } from './options.ts';
import type { CompiledSchema, VectorSchema } from './schema.ts';
import { SearchPort, type VectorConnections } from './search-port.ts';
import { DocumentStore } from './store.ts';
import { VectorIndex } from './vector-index.ts';
import { createVectorMetrics, type VectorMeter } from './vector-metrics.ts';
import { Versions } from './versions.ts';

const DEFAULT_DEADLINE_MS = 10_000;
const DEFAULT_FOLLOW_MS = 1_000;

/**
 * The vector indexes of one process.
 *
 * @example
 * const vectors = createVectors(connections, { log });
 * const index = vectors.index({ name: 'faq', embedder, schema: { lang: 'tag' } });
 * await index.upsert([{ id: '7', text: 'How to reset a password ...', metadata: { lang: 'en' } }]);
 * const [best] = await index.search({ text: 'forgot my password' });
 * await vectors.stop();
 * @throws MillraceError OPTIONS_INVALID
 */
export function createVectors(connections: VectorConnections, options: VectorsOptions = {}): Vectors {
  return new Vectors(connections, options);
}

/** Values that expire, by id. */
export interface ExpiringValues {
  /** The values, in the order of the ids; undefined for those that are not there. */
  read(ids: readonly string[]): Promise<Array<string | undefined>>;
  write(id: string, value: string, ttlMs: number): Promise<void>;
}

/** Makes indexes. */
export class Vectors {
  readonly #connections: VectorConnections;
  readonly #layout: Layout;
  readonly #guard: Guard;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #followMs: number;
  readonly #embedder: Embedder | undefined;
  readonly #meterOf: (index: string) => VectorMeter;
  #isStopped = false;

  /** @throws MillraceError OPTIONS_INVALID */
  constructor(connections: VectorConnections, options: VectorsOptions) {
    const checked = parseVectorsOptions(options);
    const { prefix = DEFAULT_PREFIX, clock = systemClock, log = silentLogger } = checked;
    const deadlineMs = checked.deadline ?? DEFAULT_DEADLINE_MS;
    this.#connections = connections;
    this.#layout = new Layout(prefix);
    this.#guard = new Guard({ deadlineMs, failures: Number.POSITIVE_INFINITY, clock, label: connections.label });
    this.#clock = clock;
    this.#log = log;
    this.#followMs = checked.follow ?? DEFAULT_FOLLOW_MS;
    this.#embedder = checked.embedder;
    this.#meterOf = createVectorMetrics(checked.metrics);
  }

  /**
   * An index; it is begun on the server when it is first used.
   *
   * @example
   * const index = vectors.index({ name: 'docs', dimensions: 384, schema: { lang: 'tag', year: 'number' } });
   * @throws MillraceError OPTIONS_INVALID
   */
  index<const Schema extends VectorSchema>(options: IndexOptions<Schema>): VectorIndex<Schema> {
    const parsed = parseIndexOptions(options, this.#embedder);
    const guard = this.#guard;
    const commands = () => this.#connections.commands();
    const store = new DocumentStore({ commands, guard });
    const [clock, log, followMs] = [this.#clock, this.#log, this.#followMs];
    const versions = new Versions({
      options: parsed,
      layout: this.#layout,
      commands,
      capabilities: () => this.#connections.capabilities(),
      guard,
      clock,
      log,
      followMs,
      engineFor: (...call) => this.#engineFor(...call),
    });
    return new VectorIndex<Schema>({
      options: parsed,
      versions,
      store,
      clock,
      log,
      meter: this.#meterOf(parsed.name),
      followMs,
      commands,
      guard,
      leaseKey: this.#layout.beside(parsed.name, 'rebuilding'),
      checkOpen: () => this.#checkOpen(),
    });
  }

  /**
   * Values beside an index, each of which expires: for what is built upon one.
   *
   * @example
   * const answers = vectors.values('faq', 'answer');
   * await answers.write('7', 'Under Settings ...', 60_000);
   */
  values(name: string, kind: string): ExpiringValues {
    const guard = this.#guard;
    const keyOf = (id: string): string => this.#layout.beside(name, kind, id);
    return {
      read: async (ids) => {
        this.#checkOpen();
        const found = await guard.run(() => this.#connections.commands().mget(ids.map(keyOf)));
        return found.map((value) => value ?? undefined);
      },
      write: async (id, value, ttlMs) => {
        this.#checkOpen();
        await guard.run(() => this.#connections.commands().set(keyOf(id), value, 'PX', Math.ceil(ttlMs)));
      },
    };
  }

  /**
   * Ends what is under way with CLOSED. Twice is fine.
   *
   * @example
   * await vectors.stop();
   */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#guard.close();
  }

  #engineFor(definition: Definition, schema: CompiledSchema, { features }: Capabilities): Engine {
    const guard = this.#guard;
    const port = new SearchPort(this.#connections, guard);
    const commands = () => this.#connections.commands();
    if (definition.engine === 'vector-sets') return new VectorSets({ port, commands, guard, definition, schema });
    return new QueryEngine({
      port,
      commands,
      guard,
      definition,
      schema,
      hasHybrid: features.hybridSearch,
      clock: this.#clock,
      log: this.#log,
    });
  }

  #checkOpen(): void {
    if (this.#isStopped) throw new MillraceError('CLOSED', 'vectors have been stopped', {});
  }
}
