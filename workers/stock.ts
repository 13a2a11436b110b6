/** The stock jobs that a worker can run, as its settings say. */
import type { Handler, Member, Platform, Schedule } from 'millrace';
import { FAMILIES, type StockSettings } from './families.ts';
import type { StockPart } from './family.ts';
import { checkQueues, handlerIn, scheduleIn } from './queues.ts';

/** What stockHandlers() gives. */
export interface Stock {
  readonly handlers: readonly Handler[];
  /** Projections and subscriptions, for `platform.work({ consumers })`. */
  readonly consumers: readonly Member[];
  /** What comes again by itself, for declareSchedules(), or among those of your own in `platform.work({ schedules })`. */
  readonly schedules: readonly Schedule[];
  /** A line for each stock job: that it runs, or what it lacks. */
  readonly summary: readonly string[];
  /** Lets go of what handlers hold. Call it when the worker has stopped. */
  close(): void;
}

/**
 * What runs of the stock jobs with these settings; jobs that are not configured are left out.
 *
 * @example
 * const { handlers, summary } = stockHandlers({ email: { smtp: 'smtp://mail.example.com', from: 'shop@example.com' } });
 * await platform.work({ handlers: [...handlers, myOwn] });
 * @throws MillraceError OPTIONS_INVALID
 */
export function stockHandlers(settings: StockSettings): Stock {
  const queues = checkQueues({ queues: settings.queues }, 'stockHandlers');
  const parts = FAMILIES.flatMap((family) => family.parts(settings));
  const running = parts.filter(isRunning);
  return {
    handlers: running.flatMap(({ handler }) => (handler ? [handlerIn(queues, handler)] : [])),
    consumers: running.flatMap(({ consumers }) => consumers ?? []),
    schedules: running.flatMap(({ schedules = [] }) => schedules.map((one) => scheduleIn(queues, one))),
    summary: parts.map((part) => `${part.name}: ${isRunning(part) ? 'runs' : `left out, ${part.needs}`}`),
    close: () => {
      for (const { handler } of running) handler?.close?.();
    },
  };
}

/**
 * Declares each of the schedules, as an application of its own (`stock:` and its id). So workers with other settings, which declare others or
 * none, do not remove it; nor does a start without it: `platform.schedules.remove(id)` does.
 *
 * @example
 * await platform.start();
 * await declareSchedules(platform, stock.schedules);
 * @throws MillraceError OPTIONS_INVALID for a schedule that the application itself has declared
 */
export async function declareSchedules(
  platform: Pick<Platform, 'schedules'>,
  schedules: readonly Schedule[],
): Promise<void> {
  for (const one of schedules) await platform.schedules.reconcile([one], { owner: `stock:${one.id}` });
}

function isRunning({ handler, consumers }: StockPart): boolean {
  return handler !== undefined || consumers !== undefined;
}
