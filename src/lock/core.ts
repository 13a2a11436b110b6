/** What all kinds of locks of one process share, made once. */
import { systemClock, type Clock } from '../clock.ts';
import { silentLogger, type Logger } from '../log.ts';
import type { Connections } from '../redis/connect.ts';
import { Guard } from '../redis/guard.ts';
import { createKeySpace, DEFAULT_PREFIX, type KeySpace } from '../redis/keys.ts';
import { Acquirer } from './acquirer.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { createLockMetrics, type LockKind, type LockMeter } from './lock-metrics.ts';
import { LockOptionsReader, parseLocksOptions, type LocksOptions } from './options.ts';
import { Replicas } from './replicas.ts';
import { Waiting } from './waiting.ts';

const DEFAULT_TTL_MS = 30_000;
const DEFAULT_WAIT_MS = 10_000;
const DEFAULT_DEADLINE_MS = 2_000;

/** The connections that locks use. */
export type LockConnections = Pick<Connections, 'commands' | 'subscriber' | 'blocking' | 'topology' | 'label'>;

/** The shared parts. */
export interface LockCore {
  readonly connections: LockConnections;
  readonly keys: KeySpace;
  /** Every command but those of Replicas goes through it: it has the deadline. It never opens, because each lock decides for itself. */
  readonly guard: Guard;
  readonly clock: Clock;
  readonly log: Logger;
  readonly waiting: Waiting;
  readonly keeper: LeaseKeeper;
  readonly acquirer: Acquirer;
  readonly reader: LockOptionsReader;
  readonly meterOf: (kind: LockKind) => LockMeter;
  stop(): Promise<void>;
}

/** @throws MillraceError OPTIONS_INVALID */
export function createLockCore(connections: LockConnections, options: LocksOptions): LockCore {
  const { prefix = DEFAULT_PREFIX, ttl, wait, deadline, metrics, ...given } = parseLocksOptions(options);
  const { clock = systemClock, log = silentLogger } = given;
  const deadlineMs = deadline ?? DEFAULT_DEADLINE_MS;
  const keys = createKeySpace(prefix, 'lock');
  const guard = new Guard({ deadlineMs, failures: Number.POSITIVE_INFINITY, clock, label: connections.label });
  const waiting = new Waiting({
    connections,
    prefix,
    deadlineMs,
    clock,
    log,
    isHolder: (waiterId) => keeper.isHolder(waiterId),
    onOust: (waiterId) => keeper.oust(waiterId),
  });
  const keeper = new LeaseKeeper({ waiting, clock, log, deadlineMs });
  const replicas = new Replicas(connections);
  return {
    connections,
    keys,
    guard,
    clock,
    log,
    waiting,
    keeper,
    acquirer: new Acquirer({ waiting, keeper, replicas, clock }),
    reader: new LockOptionsReader(ttl ?? DEFAULT_TTL_MS, wait ?? DEFAULT_WAIT_MS),
    meterOf: createLockMetrics(metrics),
    async stop() {
      keeper.stop();
      await waiting.stop();
      replicas.close();
      guard.close();
    },
  };
}
