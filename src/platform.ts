/**
 * The composition root: every module is made and wired here, and nowhere else.
 *
 *   created --start()--> starting --> running --stop()--> stopping --> stopped
 *                            |--what failed--> undone, and stopped
 *
 * start() and stop() may be called in any order and more than once; stop() undoes in reverse what start() did.
 */
import { createRequire } from 'node:module';
import { z } from 'zod';
import type { Cache } from './cache/cache.ts';
import { MillraceError } from './errors.ts';
import { runChecks, type Health } from './health.ts';
import type { DeadLetters } from './jobs/dead-letters/dead-letters.ts';
import type { Fleet } from './jobs/fleet/fleet.ts';
import type { History } from './jobs/history/history.ts';
import { jobsOptionsSchema, type Jobs, type JobsOptions, type PlatformJobs } from './jobs/jobs.ts';
import { JobsRuntime, retentionSchema, type DeadLetterRetention } from './jobs/runtime.ts';
import type { Schedules } from './jobs/schedules/schedules.ts';
import type { Locks } from './lock/locks.ts';
import type { Leaderboards } from './leaderboard/leaderboards.ts';
import { createLogger, type Logger, type LogOptions } from './log.ts';
import { createProcessMetrics, type ProcessMetrics } from './metrics/process-metrics.ts';
import { createMetrics, type Metrics } from './metrics/registry.ts';
import { moduleOptionsShape, startModules, type ModuleOptions, type Modules, type RunningModules } from './modules.ts';
import type { Limits } from './rate-limit/limits.ts';
import { parseAddress, secretsOf, type RedisOptions } from './redis/address.ts';
import { createConnections, type Connections } from './redis/connect.ts';
import type { Report } from './redis/doctor.ts';
import { defaultCacheFolder } from './redis/embedded/cache-folder.ts';
import type { EmbeddedRedis } from './redis/embedded/embedded.ts';
import { checkPrefix, DEFAULT_PREFIX } from './redis/keys.ts';
import { checkReadiness, warmUp } from './redis/readiness.ts';
import type { ServerInfo } from './redis/server-info.ts';
import { serverName } from './redis/server-info.ts';
import type { PubSub } from './pubsub/pubsub.ts';
import type { Presence } from './pubsub/presence/presence.ts';
import { checkOptions } from './schema.ts';
import type { Sessions } from './session/sessions.ts';
import type { Streams } from './streams/streams.ts';
import type { Vectors } from './vector/create-vectors.ts';
import { startWork, type Worker, type WorkOptions } from './worker.ts';

/** Options of the embedded Redis, used when `redis` is not given. */
export interface EmbeddedRedisOptions {
  /** The project's folder for data. Default `.millrace` in the working folder. */
  folder?: string | undefined;
  /** Where fetched servers are kept for all projects of this user. Default `~/.cache/millrace`. */
  cacheFolder?: string | undefined;
  /** A redis-server program to run, and no other. Default: found, or fetched. */
  server?: string | undefined;
  /** Whether a server may be fetched. Default true. */
  mayDownload?: boolean | undefined;
}

/** Options of the platform. */
export interface PlatformOptions extends ModuleOptions {
  /** The first part of every key, so that several platforms can share a Redis. Default `millrace`. Changing it leaves the data under the old one behind. */
  prefix?: string | undefined;
  /** Where Redis is. Default: the embedded Redis of this folder. */
  redis?: RedisOptions | undefined;
  embedded?: EmbeddedRedisOptions | undefined;
  /** How jobs are enqueued. */
  jobs?: JobsOptions | undefined;
  /** How long dead letters are kept. */
  deadLetters?: DeadLetterRetention | undefined;
  /** What you call the version of your application, such as a build number. Workers tell it to the fleet and keep it with each attempt. Default none. */
  appVersion?: string | undefined;
  /** How to log, or a pino logger to use. Default: `info`, readable on a terminal, JSON elsewhere. */
  log?: LogOptions | Logger | undefined;
  /** Called with each step of a long start, such as the download of a server. Default: they are logged. */
  onProgress?: ((line: string) => void) | undefined;
}

/** A platform: everything that a process needs of Millrace. */
export interface Platform {
  readonly prefix: string;
  readonly log: Logger;
  /** The connections to Redis. @throws MillraceError CLOSED before start() and after stop(). */
  readonly redis: Connections;
  /** Enqueues jobs, looks at them, waits for them, cancels them, finds them. @throws MillraceError CLOSED before start() and after stop(). */
  readonly jobs: PlatformJobs;
  /** The jobs that will not be tried again by themselves. @throws MillraceError CLOSED before start() and after stop(). */
  readonly deadLetters: DeadLetters;
  /** What comes again by itself: listed, removed, run now. @throws MillraceError CLOSED before start() and after stop(). */
  readonly schedules: Schedules;
  /** All worker processes, on whatever machine. @throws MillraceError CLOSED before start() and after stop(). */
  readonly fleet: Fleet;
  /** What was run of each queue, by the minute and by the hour. @throws MillraceError CLOSED before start() and after stop(). */
  readonly history: History;
  /** Keeps what is dear to find, in this process and in Redis. @throws MillraceError CLOSED before start() and after stop(). */
  readonly cache: Cache;
  /** One at a time, or so many, across all processes. @throws MillraceError CLOSED before start() and after stop(). */
  readonly locks: Locks;
  /** How much a key may take in a time, over all processes. @throws MillraceError CLOSED before start() and after stop(). */
  readonly limits: Limits;
  /** Entries that each group of consumers is given once, in order; event stores. @throws MillraceError CLOSED before start() and after stop(). */
  readonly streams: Streams;
  /** Messages for whoever listens now. @throws MillraceError CLOSED before start() and after stop(). */
  readonly pubsub: PubSub;
  /** Who is here, over all processes. @throws MillraceError CLOSED before start() and after stop(). */
  readonly presence: Presence;
  /** Who is first, over all time, by the calendar or of late. @throws MillraceError CLOSED before start() and after stop(). */
  readonly leaderboards: Leaderboards;
  /** Who is signed in, and with which devices. @throws MillraceError CLOSED before start() and after stop(). */
  readonly sessions: Sessions;
  /** Documents found by meaning. @throws MillraceError CLOSED before start() and after stop(). */
  readonly vectors: Vectors;
  /** What is counted in this process; add your own, and serve them with metricsRouter() of `millrace/http`. */
  readonly metrics: Metrics;
  /**
   * Runs jobs and consumers of streams in this process until stop(); resolves once it has begun, and what it declares of schedules is in
   * Redis. Await start() first.
   *
   * @throws MillraceError OPTIONS_INVALID, CLOSED
   */
  work(options: WorkOptions): Promise<Worker>;
  /** What runs, in plain words; empty before start(). */
  summary(): string[];
  /** Finds or starts Redis, and looks whether it can be worked with. @throws MillraceError that says what is wrong. */
  start(): Promise<void>;
  /** Drains the workers, closes the connections and stops an embedded Redis that this process owns. */
  stop(): Promise<void>;
  /** Whether this process is worth keeping. */
  alive(): Promise<Health>;
  /** Whether it can do its work now. */
  ready(): Promise<Health>;
  /** A full look at the server: facts, and findings with what each means and how to mend it. */
  diagnose(): Promise<Report>;
}

const optionsSchema = z.strictObject({
  prefix: z.string().default(DEFAULT_PREFIX),
  redis: z
    .custom<RedisOptions>((value) => typeof value === 'object' && value !== null, 'expected an object')
    .optional(),
  embedded: z
    .strictObject({
      folder: z.string().optional(),
      cacheFolder: z.string().optional(),
      server: z.string().optional(),
      mayDownload: z.boolean().optional(),
    })
    .optional(),
  jobs: jobsOptionsSchema.optional(),
  deadLetters: retentionSchema.optional(),
  appVersion: z.string().min(1).max(200).optional(),
  ...moduleOptionsShape,
  log: z
    .custom<LogOptions | Logger>((value) => typeof value === 'object' && value !== null, 'expected an object')
    .optional(),
  onProgress: z
    .custom<(line: string) => void>((value) => typeof value === 'function', 'expected a function')
    .optional(),
});

/**
 * A platform with the options given; `readEnv()` makes them of the environment.
 *
 * @example
 * const platform = createPlatform({ redis: { url: 'redis://127.0.0.1:6379' } });
 * await platform.start();
 * await platform.redis.commands().set('greeting', 'hello');
 * await platform.stop();
 * @throws MillraceError OPTIONS_INVALID
 */
export function createPlatform(options: PlatformOptions = {}): Platform {
  const checked = checkOptions(optionsSchema, options, 'createPlatform', ['sessions']);
  checkPrefix(checked.prefix);
  if (checked.redis) parseAddress(checked.redis);
  return new RunningPlatform(checked);
}

interface Running {
  connections: Connections;
  shared: RunningModules;
  jobs: JobsRuntime;
  embedded: EmbeddedRedis | undefined;
  server: ServerInfo;
}

const { version } = createRequire(import.meta.url)('../package.json') as { version: string };

class RunningPlatform implements Platform {
  readonly prefix: string;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly #processMetrics: ProcessMetrics;
  readonly #options: z.output<typeof optionsSchema>;
  #starting: Promise<Running> | undefined;
  #running: Running | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: z.output<typeof optionsSchema>) {
    this.#options = options;
    this.prefix = options.prefix;
    this.log = loggerOf(options);
    this.metrics = createMetrics({ log: this.log.child({ module: 'metrics' }) });
    this.#processMetrics = createProcessMetrics(this.metrics);
  }

  get redis(): Connections {
    return this.#checkRunning().connections;
  }

  get jobs(): PlatformJobs {
    return this.#checkRunning().jobs.jobs;
  }

  get deadLetters(): DeadLetters {
    return this.#checkRunning().jobs.deadLetters;
  }

  get schedules(): Schedules {
    return this.#checkRunning().jobs.schedules;
  }

  get fleet(): Fleet {
    return this.#checkRunning().jobs.fleet;
  }

  get history(): History {
    return this.#checkRunning().jobs.history;
  }

  get cache(): Cache {
    return this.#checkRunning().shared.modules.cache;
  }

  get locks(): Locks {
    return this.#checkRunning().shared.modules.locks;
  }

  get limits(): Limits {
    return this.#checkRunning().shared.modules.limits;
  }

  get streams(): Streams {
    return this.#checkRunning().shared.modules.streams;
  }

  get pubsub(): PubSub {
    return this.#checkRunning().shared.modules.pubsub;
  }

  get presence(): Presence {
    return this.#checkRunning().shared.modules.presence;
  }

  get leaderboards(): Leaderboards {
    return this.#checkRunning().shared.modules.leaderboards;
  }

  get sessions(): Sessions {
    return this.#checkRunning().shared.modules.sessions;
  }

  get vectors(): Vectors {
    return this.#checkRunning().shared.modules.vectors;
  }

  async work(options: WorkOptions): Promise<Worker> {
    const { jobs, shared } = this.#checkRunning();
    return startWork({ jobs, streams: shared.modules.streams }, options);
  }

  #checkRunning(): Running {
    if (this.#running) return this.#running;
    throw new MillraceError(
      'CLOSED',
      this.#stopping ? 'the platform has been stopped' : 'the platform has not been started; await start()',
      {},
    );
  }

  summary(): string[] {
    if (!this.#running) return [];
    const { connections, embedded, server } = this.#running;
    if (!embedded) return [`Redis      ${serverName(server)} at ${connections.label}`];
    const owner = embedded.isOwner ? 'started by this process' : 'of another process in this folder';
    return [
      `Redis      ${serverName(server)}, embedded, ${owner}`,
      `           127.0.0.1:${embedded.port}, data in ${embedded.folder}`,
    ];
  }

  async start(): Promise<void> {
    if (this.#stopping) throw new MillraceError('CLOSED', 'the platform has been stopped; create a new one', {});
    this.#starting ??= this.#start();
    this.#running = await this.#starting;
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async alive(): Promise<Health> {
    return runChecks({
      platform: async () => (this.#stopping ? 'stopping' : undefined),
      redisServer: async () => this.#running?.embedded?.failure()?.message,
      workers: async () => this.#running?.jobs.alive(),
    });
  }

  async ready(): Promise<Health> {
    return runChecks({
      platform: async () => (this.#stopping ? 'stopping' : this.#running ? undefined : 'starting'),
      redis: () => this.#checkRedis(),
      workers: async () => this.#running?.jobs.ready(),
      consumers: async () => this.#running?.shared.modules.streams.ready(),
    });
  }

  async diagnose(): Promise<Report> {
    const { redis } = this;
    // Loaded by whoever asks: a worker seldom does.
    const { diagnose } = await import('./redis/doctor.ts');
    return diagnose(redis, this.prefix);
  }

  async #checkRedis(): Promise<string | undefined> {
    if (!this.#running) return 'not connected yet';
    await checkReadiness(this.#running.connections, this.prefix);
    return undefined;
  }

  async #start(): Promise<Running> {
    const embedded = this.#options.redis ? undefined : await this.#startEmbedded();
    const options = this.#options.redis ?? { url: embedded?.url };
    let connections: Connections | undefined;
    let shared: RunningModules | undefined;
    try {
      connections = createConnections(options, this.log.child({ module: 'redis' }));
      const server = await connections.verify({ oldest: embedded?.oldestServer });
      await warmUp(connections);
      const { prefix, log, metrics } = this;
      const enqueue: Jobs['enqueue'] = (...call) => this.jobs.enqueue(...call);
      shared = startModules(connections, { prefix, log, metrics, enqueue }, this.#options);
      const jobs = this.#createJobs(connections, shared.modules);
      this.#processMetrics.start();
      return { connections, shared, jobs, embedded, server };
    } catch (error) {
      await shared?.stop();
      await connections?.close();
      await embedded?.stop();
      throw error;
    }
  }

  #createJobs(connections: Connections, modules: Modules): JobsRuntime {
    return new JobsRuntime({
      connections,
      prefix: this.prefix,
      log: this.log.child({ module: 'jobs' }),
      registry: this.metrics,
      modules,
      options: this.#options.jobs ?? {},
      deadLetters: this.#options.deadLetters ?? {},
      version,
      appVersion: this.#options.appVersion,
    });
  }

  async #startEmbedded(): Promise<EmbeddedRedis> {
    // Loaded by whoever has no Redis of his own: in production nobody does.
    const { formatProgress, startEmbedded } = await import('./redis/embedded/embedded.ts');
    const { embedded = {}, onProgress = (line: string) => this.log.info(line) } = this.#options;
    return startEmbedded({
      folder: embedded.folder ?? '.millrace',
      cacheFolder: embedded.cacheFolder ?? defaultCacheFolder(),
      server: embedded.server,
      mayDownload: embedded.mayDownload,
      log: this.log.child({ module: 'embedded-redis' }),
      onProgress: (progress) => onProgress(formatProgress(progress)),
    });
  }

  async #stop(): Promise<void> {
    const running = await this.#starting?.catch(() => undefined); // start() has told its caller why it failed.
    await Promise.all([running?.jobs.drain(), running?.shared.modules.streams.drain()]); // Meanwhile handlers still use the platform.
    await running?.jobs.close();
    await running?.shared.stop();
    this.#running = undefined;
    this.#processMetrics.stop();
    await running?.connections.close();
    await running?.embedded?.stop();
  }
}

function loggerOf({ log, redis, sessions }: PlatformOptions): Logger {
  if (log && 'child' in log) return log;
  const secrets = [log?.secrets ?? [], redis ? secretsOf(redis) : [], sessions?.secret ?? []];
  return createLogger({ ...log, secrets: secrets.flat() });
}
