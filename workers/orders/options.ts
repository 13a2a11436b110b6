/** Options of what projects orders and of what rebuilds them. */
import {
  checkOptions,
  durationOption,
  type Duration,
  type EventsContract,
  type EventSchemas,
  type Projection,
} from 'millrace';
import { z } from 'zod';
import type { FollowUps } from './follow-up.ts';
import { orderModel, type OrderSchemas } from './model.ts';

/** Options of createOrderProjection() and createRebuildHandler(). */
export interface OrdersOptions<Schemas extends EventSchemas = OrderSchemas> {
  /** The name of the event store of orders as orderModel() has them. Default `orders`. */
  store?: string | undefined;
  /** Whose days the read model counts. Default `UTC`. */
  timeZone?: string | undefined;
  /** Events of your own in the place of those of orderModel(); then the read model is yours too. */
  events?: EventsContract<Schemas> | undefined;
  /** Read models beside that of orderModel(): what project() gives. */
  projections?: readonly Projection[] | undefined;
  /** What is to be enqueued for an event, by its type. */
  followUps?: FollowUps<Schemas> | undefined;
  /** Where follow-ups begin that never ran: with all that has ever happened, or with what comes. Required with them. */
  from?: 'start' | 'end' | undefined;
  /** How long it is remembered which jobs were enqueued for an event. Default `7d`. Events come again after a crash only, and only the last hundred. */
  idempotentFor?: Duration | undefined;
}

/** The options after their check. */
export interface CheckedOrders {
  readonly events: EventsContract;
  readonly projections: readonly Projection[];
  readonly followUps: FollowUps<EventSchemas> | undefined;
  readonly from: 'start' | 'end';
  readonly idempotentForMs: number;
}

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null;
const optionsSchema = z
  .strictObject({
    store: z.string().optional(),
    timeZone: z.string().optional(),
    events: z.custom<EventsContract>(isObject, 'expected events of defineEvents()').optional(),
    projections: z
      .array(
        z.custom<Projection>(
          (value) => isObject(value) && (value as { kind?: unknown }).kind === 'projection',
          'expected what project() gives',
        ),
      )
      .default([]),
    followUps: z
      .record(
        z.string(),
        z.custom<never>((value) => typeof value === 'function', 'expected a function'),
      )
      .optional(),
    from: z.enum(['start', 'end']).optional(),
    idempotentFor: durationOption.refine((ms) => ms >= 60_000, 'expected 1 min or more').prefault('7d'),
  })
  .superRefine(({ store, timeZone, events, projections, followUps, from }, context) => {
    const refuse = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
    if (events && (store ?? timeZone) !== undefined)
      refuse('events', 'expected store and timeZone, or events, not both');
    if (events && projections.length === 0 && !followUps)
      refuse('projections', 'expected what is to be made of the events');
    if (followUps && from === undefined)
      refuse('from', "expected 'start' or 'end': whether follow-ups of what has happened already are to be enqueued");
    const names = projections.map(({ name }) => name);
    if (new Set(names).size < names.length) refuse('projections', 'expected each name once');
  });

/** @throws MillraceError OPTIONS_INVALID */
export function checkOrders<Schemas extends EventSchemas>(
  options: OrdersOptions<Schemas>,
  owner: string,
): CheckedOrders {
  const { store, timeZone, events, projections, followUps, from, idempotentFor } = checkOptions(
    optionsSchema,
    options,
    owner,
  );
  const model = events ? undefined : orderModel({ store, timeZone });
  return {
    events: events ?? (model?.events as unknown as EventsContract),
    projections: [...(model ? [model.projection] : []), ...projections],
    followUps,
    from: from ?? 'start',
    idempotentForMs: idempotentFor,
  };
}
