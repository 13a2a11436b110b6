/**
 * What a worker process runs beside its job handlers: a consumer of a stream, a projection, a subscription.
 *
 * A member is a definition and holds nothing open; start() makes it run in one process, on that process's connections.
 */
import type { Clock } from '../clock.ts';
import type { Logger } from '../log.ts';
import type { Connections } from '../redis/connect.ts';
import type { StreamModules } from './context.ts';
import type { StreamsMetricsRegistry } from './streams-metrics.ts';

/** What a process lends to the members that it runs. */
export interface Host {
  readonly connections: Pick<Connections, 'commands' | 'blocking' | 'capabilities' | 'topology' | 'label'>;
  readonly prefix: string;
  readonly log: Logger;
  readonly clock: Clock;
  /** What handlers find in their context beside their entry. */
  readonly modules: Partial<StreamModules>;
  /** Where to count; nowhere when left out. */
  readonly metrics?: StreamsMetricsRegistry | undefined;
  /** Aborts once what runs here is to stop: a start that waits for Redis need not go on. */
  readonly stopping?: AbortSignal | undefined;
}

/** A member that runs. */
export interface Running {
  /** What of it runs now. */
  readonly active: number;
  /** Why it cannot work now; undefined when it can. */
  ready(): string | undefined;
  /** Takes nothing new until resume(); what runs goes on. */
  pause(): void;
  resume(): void;
  /** Takes nothing new, lets what runs end, gives back what does not within the time. Safe to call twice. */
  stop(withinMs: number): Promise<void>;
}

/** A definition of what a worker process runs. */
export interface Member {
  /** Such as `consumer`, for messages. */
  readonly kind: string;
  readonly name: string;
  /** Resolves once it works, for which it waits as long as Redis is down and the host is not stopping. @throws MillraceError for what waiting does not mend. */
  start(host: Host): Promise<Running>;
}
