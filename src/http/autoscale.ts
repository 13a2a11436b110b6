/**
 * `GET /autoscale` and `GET /autoscale/:queue`: how much there is to do, how long that takes, and how many workers would do it in time. For
 * KEDA's metrics-api scaler, for an HPA behind it, and for people.
 *
 * Promise: figures are of one look that is at most a second old, whoever asks and however often; a look is one script a queue, in round trips
 * of fifty. Open to all who reach it, as `/metrics` is: names of queues stand there, inputs of jobs never do.
 * Redis down: 503 with the reason within the deadline; autoscalers then leave the workers as they are.
 */
import { Router, type Request, type Response } from 'express';
import { z } from 'zod';
import { systemClock } from '../clock.ts';
import { tryToMs, type Duration } from '../durations.ts';
import { isMillraceError } from '../errors.ts';
import type { WorkerInfo } from '../jobs/fleet/report.ts';
import type { Platform } from '../platform.ts';
import type { RedisClient } from '../redis/clients.ts';
import { Guard } from '../redis/guard.ts';
import { checkOptions, durationOption } from '../schema.ts';
import { figuresOf, handsOf, type FigureOptions, type QueueFigures } from './autoscale-figures.ts';
import { QueueLooks, type QueueWork } from './autoscale-look.ts';
import type { Middleware } from './health.ts';

export type { QueueFigures } from './autoscale-figures.ts';

/** What of a platform is asked. A Platform is one. */
export type AutoscalePlatform = Pick<Platform, 'prefix' | 'redis' | 'fleet' | 'metrics'>;

/** Options of the endpoint. */
export interface AutoscaleOptions {
  /** Within which a queue should be drained, where the request does not say (`?target=30s`). 1 s to 1 d. Default 1 min. Shorter asks for more workers. */
  target?: Duration | undefined;
  /** Slots of a worker for each queue, where none is known and the request does not say (`?concurrency=20`). Default 10, which is a worker's own default. */
  concurrency?: number | undefined;
}

/** What `GET /autoscale` answers. */
export interface AutoscaleAnswer {
  /** When it was looked, by the server's clock, in ms. */
  at: number;
  targetSeconds: number;
  /** What the queue wants that wants most: for workers that run all of them. */
  desiredWorkers: number;
  queues: QueueFigures[];
  /** False when there are more queues, or some could not be asked. */
  isWhole: boolean;
}

/** Queues that are told of at once, in the order of their names. */
const MOST_QUEUES = 1_000;
const GOOD_FOR_MS = 1_000;
/** Queues of which a look is kept; each is dropped when it is over. */
const MOST_KEPT = 1_000;
/** Less than KEDA waits for an answer (3 s). */
const DEADLINE_MS = 2_000;
const SHORTEST_MS = 1_000;
const LONGEST_MS = 86_400_000;

const concurrency = z.int().min(1).max(100_000);
const optionsSchema = z.strictObject({
  target: durationOption.refine((ms) => ms >= SHORTEST_MS && ms <= LONGEST_MS, 'expected 1 s to 1 d').prefault('1m'),
  concurrency: concurrency.default(10),
});

interface Look {
  works: QueueWork[];
  workers: WorkerInfo[];
  isWhole: boolean;
}

/** Answers that are good for a second, by name. */
class Kept<T> {
  readonly #kept = new Map<string, { answer: Promise<T>; untilMs: number }>();

  get(name: string, ask: () => Promise<T>): Promise<T> {
    const nowMs = systemClock.monotonicMs();
    for (const [oldest, { untilMs }] of this.#kept) {
      if (nowMs < untilMs && this.#kept.size < MOST_KEPT) break;
      this.#kept.delete(oldest);
    }
    const kept = this.#kept.get(name);
    if (kept) return kept.answer;
    const answer = ask();
    this.#kept.set(name, { answer, untilMs: nowMs + GOOD_FOR_MS });
    return answer;
  }
}

/** The looks of one platform, shared by all that ask in this process. */
class Autoscaler {
  readonly #platform: AutoscalePlatform;
  readonly #queues: QueueLooks;
  /** By queue; that of all queues is under no name. */
  readonly #looks = new Kept<Look | undefined>();
  readonly #fleet = new Kept<WorkerInfo[]>();
  #guard: Guard | undefined;

  constructor(platform: AutoscalePlatform) {
    this.#platform = platform;
    this.#queues = new QueueLooks(platform.prefix, systemClock);
  }

  /** One queue, or all of them; undefined for a queue that was never used. */
  look(queue = ''): Promise<Look | undefined> {
    return this.#looks.get(queue, async () => {
      const { redis, fleet } = this.#platform; // A platform that was not started has none, and says so.
      this.#guard ??= new Guard({ deadlineMs: DEADLINE_MS, label: redis.label });
      return this.#guard.run(() => this.#look(redis.commands(), fleet, queue));
    });
  }

  async #look(client: RedisClient, fleet: AutoscalePlatform['fleet'], queue: string): Promise<Look | undefined> {
    const asked = queue === '' ? await this.#queues.names(client) : [queue];
    if (queue !== '' && !(await this.#queues.isKnown(client, queue))) return undefined;
    const [works, workers] = await Promise.all([
      this.#queues.look(client, asked.slice(0, MOST_QUEUES)),
      this.#fleet.get('', () => fleet.workers()),
    ]);
    return { works, workers, isWhole: works.length === asked.length };
  }
}

const autoscalers = new WeakMap<AutoscalePlatform, Autoscaler>();

/**
 * A router with `/autoscale`, and its figures as gauges in the metrics of the platform: `millrace_queue_drain_seconds`,
 * `millrace_queue_desired_workers`, `millrace_queue_workers`, `millrace_queue_slots`.
 *
 * @example
 * const app = express();
 * app.use(autoscaleRouter(platform, { target: '30s' }));
 * @throws MillraceError OPTIONS_INVALID
 */
export function autoscaleRouter(platform: AutoscalePlatform, options: AutoscaleOptions = {}): Middleware {
  const checked = checkOptions(optionsSchema, options, 'autoscaleRouter');
  const defaults: FigureOptions = { targetMs: checked.target, concurrency: checked.concurrency };
  const known = autoscalers.get(platform);
  const autoscaler = known ?? new Autoscaler(platform);
  if (!known) {
    autoscalers.set(platform, autoscaler);
    defineGauges(platform.metrics, async () => {
      const look = await autoscaler.look();
      return look ? answerOf(look, defaults).queues : [];
    });
  }
  const router = Router();
  router.get('/autoscale{/:queue}', answering(platform, autoscaler, defaults));
  return router as unknown as Middleware;
}

function answering({ prefix }: AutoscalePlatform, autoscaler: Autoscaler, defaults: FigureOptions) {
  return async (request: Request, response: Response): Promise<void> => {
    response.set('Cache-Control', 'no-store');
    const asked = askedOf(request, defaults);
    if (typeof asked === 'string') return void response.status(400).json({ error: asked });
    const { queue } = request.params as { queue?: string };
    try {
      const look = await autoscaler.look(queue);
      if (!look) {
        const error = `no job was ever enqueued on a queue ${JSON.stringify(queue)} under the prefix ${prefix}`;
        return void response.status(404).json({ error });
      }
      const { queues, ...all } = answerOf(look, asked);
      response.json(
        queue === undefined ? { ...all, queues } : { at: all.at, targetSeconds: all.targetSeconds, ...queues[0] },
      );
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      response.status(503).json({ error: reason, ...(isMillraceError(error) && { code: error.code }) });
    }
  };
}

/** What the request asks for; a text that says what is wrong with it. */
function askedOf({ query }: Request, defaults: FigureOptions): FigureOptions | string {
  const { target, concurrency: slots, ...rest } = query;
  const [strange] = Object.keys(rest);
  if (strange !== undefined) return `expected target or concurrency, got ${strange}`;
  const targetMs = target === undefined ? defaults.targetMs : tryToMs(target);
  if (targetMs === undefined || targetMs < SHORTEST_MS || targetMs > LONGEST_MS)
    return 'target: expected a duration from 1s to 1d, such as 30s';
  const parsed = slots === undefined ? defaults.concurrency : concurrency.safeParse(Number(slots)).data;
  if (parsed === undefined) return 'concurrency: expected a whole number from 1 to 100000';
  return { targetMs, concurrency: parsed };
}

function answerOf({ works, workers, isWhole }: Look, options: FigureOptions): AutoscaleAnswer {
  const hands = handsOf(workers);
  const queues = works.map((work) => figuresOf(work, hands(work.queue), options));
  return {
    at: Math.max(0, ...works.map(({ atMs }) => atMs)),
    targetSeconds: options.targetMs / 1_000,
    desiredWorkers: Math.max(0, ...queues.map(({ desiredWorkers }) => desiredWorkers)),
    queues,
    isWhole,
  };
}

/** Each of them shares the look of the others, as that is kept for a second. */
function defineGauges(metrics: AutoscalePlatform['metrics'], look: () => Promise<QueueFigures[]>): void {
  const define = (name: string, help: string, valueOf: (figures: QueueFigures) => number | null): void => {
    metrics.gauge({
      name,
      help,
      labels: ['queue'],
      maxChildren: MOST_QUEUES,
      collect: async () =>
        (await look()).flatMap((figures) => {
          const value = valueOf(figures);
          return value === null ? [] : { labels: { queue: figures.queue }, value };
        }),
    });
  };
  define(
    'millrace_queue_drain_seconds',
    'How long the workers there are need for all that waits and runs, if nothing is added; missing when nobody can tell.',
    ({ drainSeconds }) => drainSeconds,
  );
  define(
    'millrace_queue_desired_workers',
    'How many workers would drain the queue within the target.',
    ({ desiredWorkers }) => desiredWorkers,
  );
  define(
    'millrace_queue_workers',
    'Worker processes that take jobs of the queue; those that drain or are silent do not.',
    ({ workers }) => workers,
  );
  define('millrace_queue_slots', 'Jobs of the queue that can run at once.', ({ concurrency: slots }) => slots);
}
