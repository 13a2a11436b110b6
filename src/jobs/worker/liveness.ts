/**
 * Tells a worker that is idle from one that is silent.
 *
 * A worker is alive when it makes progress, or provably has nothing to do: no job waits, no slot is free, the queue is paused or held back
 * by a limit, or Redis is away. Otherwise, after `silentFor`, the queue's worker is rebuilt; if that does not help for as long
 * again, the process is not alive, and whoever watches it should start another.
 */
import type { JobsCore } from '../core.ts';
import { formatMs } from '../../durations.ts';
import type { QueueWorker } from './queue-worker.ts';

/** What a liveness watch is made of. */
export interface LivenessParts {
  core: JobsCore;
  queues: readonly QueueWorker[];
  silentForMs: number;
  /** Called once, when rebuilding did not help. */
  onSilent?: ((reason: string) => void) | undefined;
}

/** Looks that fit into the time after which a queue counts as silent. */
const LOOKS = 4;
/** BullMQ's scores of delayed jobs are their time in ms, shifted by 12 bits. */
const SCORE_PER_MS = 0x1000;

interface Watched {
  /** Since when jobs wait and nothing was taken, in monotonic ms. */
  silentSinceMs: number | undefined;
  isRebuilt: boolean;
  /** Why the process should be replaced, as of the last look. */
  verdict: string | undefined;
}

/** The liveness of one worker. */
export class Liveness {
  readonly #parts: LivenessParts;
  readonly #watched: ReadonlyMap<QueueWorker, Watched>;
  #timer: NodeJS.Timeout | undefined;
  #isLooking = false;
  #isTold = false;

  constructor(parts: LivenessParts) {
    this.#parts = parts;
    this.#watched = new Map(
      parts.queues.map((queue) => [queue, { silentSinceMs: undefined, isRebuilt: false, verdict: undefined }]),
    );
  }

  start(): void {
    this.#timer ??= setInterval(() => void this.#look(), this.#parts.silentForMs / LOOKS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Why the process should be replaced; undefined when it should not. */
  verdict(): string | undefined {
    for (const { verdict } of this.#watched.values()) if (verdict !== undefined) return verdict;
    return undefined;
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    await Promise.all([...this.#watched].map(([queue, watched]) => this.#judge(queue, watched)));
    this.#isLooking = false;
    const reason = this.verdict();
    if (reason === undefined || this.#isTold || !this.#timer) return;
    this.#isTold = true;
    this.#parts.onSilent?.(reason);
  }

  async #judge(queue: QueueWorker, watched: Watched): Promise<void> {
    const { core, silentForMs } = this.#parts;
    const hasWork = queue.running.size < queue.concurrency && (await this.#hasWaiting(queue.name));
    const nowMs = core.clock.monotonicMs();
    const sinceMs = watched.silentSinceMs;
    if (!hasWork || (sinceMs !== undefined && queue.takenAtMs > sinceMs)) {
      Object.assign(watched, { silentSinceMs: undefined, isRebuilt: false, verdict: undefined });
    } else if (sinceMs === undefined) {
      watched.silentSinceMs = nowMs;
    } else if (nowMs - sinceMs >= silentForMs && this.#timer) {
      const what = `jobs wait, and none was taken for ${formatMs(nowMs - sinceMs)}`;
      if (watched.isRebuilt) watched.verdict = `queue ${queue.name}: ${what}`;
      else this.#rebuild(queue, watched, what);
    }
  }

  #rebuild(queue: QueueWorker, watched: Watched, what: string): void {
    this.#parts.core.log.error({ queue: queue.name }, `${what}; the queue's worker is rebuilt`);
    watched.isRebuilt = true;
    queue.rebuild();
    watched.silentSinceMs = this.#parts.core.clock.monotonicMs();
  }

  /** Whether a job could be taken now. When Redis cannot be asked, a new process could not take one either. */
  async #hasWaiting(name: string): Promise<boolean> {
    const { core } = this.#parts;
    const { queue } = core.queues.get(name);
    try {
      const counts = await queue.getJobCounts('waiting', 'prioritized');
      const count = (counts['waiting'] ?? 0) + (counts['prioritized'] ?? 0);
      if (count === 0 && !(await this.#hasOverdue(name))) return false;
      const [isPaused, isMaxed, limitedMs] = await Promise.all([
        queue.isPaused(),
        queue.isMaxed(),
        queue.getRateLimitTtl(),
      ]);
      return !isPaused && !isMaxed && limitedMs <= 0;
    } catch (error) {
      core.log.debug({ queue: name, err: error }, 'not known whether jobs wait');
      return false;
    }
  }

  /** Whether a delayed job is late: workers move it when its time has come, so a silent one leaves it there. */
  async #hasOverdue(name: string): Promise<boolean> {
    const { core, silentForMs } = this.#parts;
    const latest = (core.clock.wallMs() - silentForMs) * SCORE_PER_MS; // The machines' clocks may differ a little.
    return (await core.queues.client.zcount(core.queues.get(name).key('delayed'), 0, latest)) > 0;
  }
}
