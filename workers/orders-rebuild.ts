/**
 * `orders.rebuild`: read models of orders, made anew.
 *
 * Promise: readers see the old documents until the new ones have come as far, and never see time go back. A job that is broken off is gone on with by
 * its next attempt with the same code. It holds up neither the read models that follow nor the follow-ups.
 * Redis down: the attempt fails, and the next one goes on.
 */
import {
  handle,
  isMillraceError,
  systemClock,
  unrecoverable,
  type EventSchemas,
  type Handler,
  type JobContext,
  type Projection,
} from 'millrace';
import { ordersRebuild } from './orders/contract.ts';
import type { OrderSchemas } from './orders/model.ts';
import { checkOrders, type OrdersOptions } from './orders/options.ts';

const LOOK_EVERY_MS = 500;

/**
 * The handler of `orders.rebuild`, for the options that createOrderProjection() is given.
 *
 * @example
 * await platform.work({ consumers: createOrderProjection(options), handlers: [createRebuildHandler(options)] });
 * @throws MillraceError OPTIONS_INVALID
 */
export function createRebuildHandler<Schemas extends EventSchemas = OrderSchemas>(
  options: OrdersOptions<Schemas> = {},
): Handler {
  const { projections } = checkOrders(options, 'createRebuildHandler');
  const names = projections.map(nameOf).join(', ');
  return handle(ordersRebuild, async ({ projection: name }, context) => {
    const chosen = projections.filter((one) => name === undefined || nameOf(one) === name);
    if (name !== undefined && chosen.length === 0)
      throw unrecoverable(`there is no projection named ${name}; this worker has: ${names}`);
    const positions: Record<string, number> = {};
    for (const one of chosen) {
      const position = await context.once(`rebuilt ${one.name}`, () => rebuild(one, context));
      positions[nameOf(one)] = position;
    }
    return { positions };
  });
}

async function rebuild(projection: Projection, { log, progress, signal, streams }: JobContext): Promise<number> {
  const state = streams.events(projection.contract).projection(projection);
  const told = new AbortController();
  const tell = async (): Promise<void> => {
    for (;;) {
      const { rebuilding: position, top } = await state.progress();
      if (position !== undefined) progress({ projection: projection.name, position, top });
      await systemClock.sleep(LOOK_EVERY_MS, { signal: told.signal });
    }
  };
  // Ends with the rebuild; one who cannot be told how far it is, is told how it ended.
  const telling = tell().catch(() => undefined);
  try {
    const position = await state.rebuild({ signal });
    log.info({ projection: projection.name, position }, 'read model rebuilt');
    return position;
  } catch (error) {
    throw isMillraceError(error, 'LEASE_LOST') && !signal.aborted ? unrecoverable(error) : error;
  } finally {
    told.abort();
    await telling;
  }
}

/** Without the store's. */
function nameOf({ checked }: Projection): string {
  return checked.name;
}
