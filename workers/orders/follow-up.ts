/** What shall be done because something has happened: jobs that are enqueued for an event, once. */
import { createHash } from 'node:crypto';
import {
  subscribeTo,
  type Duration,
  type EnqueueOptions,
  type EventContext,
  type EventsContract,
  type EventSchemas,
  type JobContract,
  type Member,
  type RecordedEvent,
} from 'millrace';

/** A job to be enqueued. */
export interface FollowUp {
  readonly contract: JobContract;
  readonly input: unknown;
  readonly options: Omit<EnqueueOptions, 'idempotencyKey' | 'idempotentFor'> | undefined;
}

/** What follows from an event. It may be called twice for one: what it returns is enqueued once, what else it does is not. */
export type Follow<Schemas extends EventSchemas, Type extends keyof Schemas & string> = (
  event: RecordedEvent<Schemas, Type>,
  context: EventContext,
) => MaybePromise<FollowUp | readonly FollowUp[] | undefined>;

type MaybePromise<T> = T | Promise<T>;

/** By the types of events; what follows from the others is nothing. */
export type FollowUps<Schemas extends EventSchemas> = {
  readonly [Type in keyof Schemas & string]?: Follow<Schemas, Type> | undefined;
};

/**
 * A job that follows from an event.
 *
 * @example
 * const followUps = {
 *   shipped: ({ streamId, data }) => followUp(emailSend, { to: 'ada@example.com', template: 'shipped', data: { order: streamId, ...data } }),
 * };
 */
export function followUp<Input>(
  contract: JobContract<Input>,
  input: NoInfer<Input>,
  options?: FollowUp['options'],
): FollowUp {
  return { contract, input, options };
}

/** Rules of a subscription that enqueues. */
export interface FollowRules {
  readonly from: 'start' | 'end';
  readonly idempotentFor: Duration;
}

/**
 * Enqueues what follows from each event, in their order. An event that comes again, because a process died, adds no job a second time: the key of
 * the job is made of the event's place and id. Jobs whose contract has a key of its own are coalesced by that.
 */
export function followEvents<Schemas extends EventSchemas>(
  events: EventsContract<Schemas>,
  followUps: FollowUps<Schemas>,
  { from, idempotentFor }: FollowRules,
): Member {
  const types = Object.keys(followUps).filter((type) => followUps[type] !== undefined);
  return subscribeTo<EventSchemas, string>(events, { name: 'follow-ups', types, from }, async (event, context) => {
    const follow = followUps[event.type] as Follow<EventSchemas, string>;
    const jobs = [(await follow(event, context)) ?? []].flat();
    const counts = new Map<string, number>();
    for (const { contract, input, options } of jobs) {
      const nth = counts.get(contract.name) ?? 0;
      counts.set(contract.name, nth + 1);
      const once = contract.unique ? {} : { idempotencyKey: keyOf(events.name, event, nth), idempotentFor };
      await context.enqueue(contract, input, { ...options, ...once });
    }
  });
}

/** The id tells an event from another one that has its place since Redis has lost it. */
export function keyOf(store: string, { streamId, version, id }: RecordedEvent<EventSchemas>, nth: number): string {
  return createHash('sha256')
    .update(JSON.stringify([store, streamId, version, id, nth]))
    .digest('base64url');
}
