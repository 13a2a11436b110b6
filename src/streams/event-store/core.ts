/** What all parts of one event store share, made once. */
import { systemClock, type Clock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import { silentLogger, type Logger } from '../../log.ts';
import type { Connections } from '../../redis/connect.ts';
import { DEFAULT_PREFIX } from '../../redis/keys.ts';
import type { Host } from '../member.ts';
import { checkEvents, differenceOf, type EventsContract, type EventSchemas } from './contract.ts';
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

/** The contracts that are in use over some connections, by the key of all their events. */
const inUse = new WeakMap<object, Map<string, EventsContract>>();

/** @throws MillraceError OPTIONS_INVALID, also for a second contract of the same events that reads them otherwise */
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
  claim(connections, keys.all, contract);
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

function claim(connections: EventConnections, all: string, contract: EventsContract): void {
  let known = inUse.get(connections);
  if (!known) inUse.set(connections, (known = new Map()));
  const first = known.get(all) ?? contract;
  known.set(all, first);
  const difference = differenceOf(first, contract);
  if (difference === undefined) return;
  const { name: store } = contract;
  const message = `the events of ${store} are defined twice in this process, with other ${difference}; share one contract`;
  throw new MillraceError('OPTIONS_INVALID', message, { store, difference });
}
