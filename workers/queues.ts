/**
 * Stock jobs on queues of an application's own: with `queues: 'shop'`, `email.send` is on `shop.email` and not on `email`.
 *
 * Workers of a queue share its jobs, whatever program they are part of, and a contract carries its queue. So who enqueues and who handles name
 * the same, and what a stock job enqueues itself goes to the queues beside its own.
 */
import { checkOptions, type Handler, type JobContract, type Schedule } from 'millrace';
import { z } from 'zod';

/** Which queues the stock jobs are on. */
export interface QueuesOption {
  /**
   * What stands before the names of the queues, with a dot between, such as `shop` for `shop.email`: the same for those who enqueue and those who
   * handle. On a Cluster all of them are on one node. Default: nothing does.
   */
  queues?: string | undefined;
}

const optionsSchema = z.strictObject({
  queues: z
    .string()
    .max(40)
    .regex(/^[a-z][\w-]*(?:\.[\w-]+)*$/i, "expected letters, digits, '_', '-' and single dots, beginning with a letter")
    .optional(),
});

/** @throws MillraceError OPTIONS_INVALID */
export function checkQueues(options: QueuesOption, owner: string): string | undefined {
  return checkOptions(optionsSchema, options, owner).queues;
}

/** The contract, on those queues. */
export function contractIn<Input, Parsed, Result>(
  queues: string | undefined,
  contract: JobContract<Input, Parsed, Result>,
): JobContract<Input, Parsed, Result> {
  return queues === undefined ? contract : Object.freeze({ ...contract, queue: `${queues}.${contract.queue}` });
}

/** The handler, for the jobs of those queues. */
export function handlerIn(queues: string | undefined, handler: Handler): Handler {
  return queues === undefined ? handler : Object.freeze({ ...handler, contract: contractIn(queues, handler.contract) });
}

/** The schedule, whose id is of those queues too: ids are known to all under a prefix. */
export function scheduleIn(queues: string | undefined, one: Schedule): Schedule {
  return queues === undefined
    ? one
    : Object.freeze({ ...one, id: `${queues}.${one.id}`, contract: contractIn(queues, one.contract) });
}

/** For what a job enqueues: the other contract, on the queues that the job's is one of. */
export function contractBeside<Input>(
  job: { readonly queue: string },
  own: JobContract,
  other: JobContract<Input>,
): JobContract<Input> {
  const ending = `.${own.queue}`;
  return contractIn(job.queue.endsWith(ending) ? job.queue.slice(0, -ending.length) : undefined, other);
}
