/** What all parts of one event store share, made once. */
import { systemClock, type Clock } from '../../clock.ts';
import { silentLogger, type Logger } from '../../log.ts';
import type { Connections } from '../../redis/connect.ts';
import { DEFAULT_PREFIX } from '../../redis/keys.ts';
import type { Host } from '../member.ts';
import { checkEvents, type EventsContract, type EventSchemas } from './contract.ts';
import { createStoreMeter, type StoreMeter } from './event-metrics.ts';
import { createEventKeys, type EventKeys } from './keys.ts';
import { parseStoreOptions, type EventStoreOptions } from './options.ts';
import { Reader } from './reader.ts';

/** The connections that an event store uses. */
export type EventConnections = Pick<Connections, 'commands' | 'blocking' | 'capabilities' | 'topology' | 'label'>;

/** The shared parts. */
export interface StoreCore<Schemas extends EventSchemas = EventSchemas> {
  readonly connections: EventConnections;
  readonly contract: EventsContract<Schemas>;
  readonly keys: EventKeys;
  readonly reader: Reader;
  readonly log: Logger;
  readonly clock: Clock;
  readonly meter: StoreMeter;
  /** What members are lent that this store runs. */
  readonly host: Host;
}

/** @throws MillraceError OPTIONS_INVALID */
export function createStoreCore<Schemas extends EventSchemas>(
  connections: EventConnections,
  contract: EventsContract<Schemas>,
  options: EventStoreOptions,
): StoreCore<Schemas> {
  checkEvents(contract);
  const {
    prefix = DEFAULT_PREFIX,
    clock = systemClock,
    metrics,
    log: given = silentLogger,
    modules,
  } = parseStoreOptions(options);
  const keys = createEventKeys(prefix, contract.name);
  return {
    connections,
    contract,
    keys,
    reader: new Reader({ connections, contract, keys }),
    log: given.child({ store: contract.name }),
    clock,
    meter: createStoreMeter(metrics, contract.name),
    host: { connections, prefix, log: given, clock, modules: modules ?? {}, metrics },
  };
}

/** The parts that a member works with in the process that runs it. */
export function coreOf<Schemas extends EventSchemas>(
  contract: EventsContract<Schemas>,
  host: Host,
): StoreCore<Schemas> {
  const { connections, prefix, log, clock, metrics } = host;
  return { ...createStoreCore(connections, contract, { prefix, log, clock, metrics }), host };
}
