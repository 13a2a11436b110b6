/** Definitions of consumers: a stream's contract, a group, and code. */
import { describeValue, MillraceError } from '../../errors.ts';
import type { StreamContract } from '../contract.ts';
import type { Host, Member } from '../member.ts';
import type { RunningConsumer } from './consumer.ts';
import {
  planOf,
  type BatchHandler,
  type ConsumeBatchOptions,
  type ConsumeOptions,
  type EntryHandler,
  type Plan,
} from './plan.ts';
import type { Handler } from './session.ts';

/** A consumer as it is declared; it holds nothing open. */
export interface ConsumerDefinition extends Member {
  readonly kind: 'consumer';
  /** The name of the stream. */
  readonly name: string;
  readonly group: string;
  readonly contract: StreamContract;
  /** @param onTick is called now and then while it works, for what its owner does besides. */
  start(host: Host, onTick?: () => void): Promise<RunningConsumer>;
}

/**
 * Code that is given each entry of a stream, once for the group and again until it succeeds or is a dead letter.
 *
 * @example
 * export default consume(ordersPlaced, { group: 'billing', concurrency: 32 }, async ({ orderId, total }, { entry, signal }) => {
 *   await bill(orderId, total, { idempotencyKey: entry.id, signal });
 * });
 * @throws MillraceError OPTIONS_INVALID
 */
export function consume<Input, Parsed>(
  contract: StreamContract<Input, Parsed>,
  options: ConsumeOptions<Parsed>,
  run: EntryHandler<Parsed>,
): ConsumerDefinition {
  const plan = planOf(contract, options, 'consume');
  return definitionOf(plan, { kind: 'single', run: checked(run, 'consume') as never });
}

/**
 * Code that is given many entries of a stream at once.
 *
 * @example
 * export default consumeBatch(ordersPlaced, { group: 'search', batch: { size: 500, within: '1s' } }, async (entries) => {
 *   const answers = await index.bulk(entries.map(({ data }) => data));
 *   entries.forEach((entry, at) => answers[at]?.error && entry.fail(answers[at].error));
 * });
 * @throws MillraceError OPTIONS_INVALID
 */
export function consumeBatch<Input, Parsed>(
  contract: StreamContract<Input, Parsed>,
  options: ConsumeBatchOptions,
  run: BatchHandler<Parsed>,
): ConsumerDefinition {
  const plan = planOf(contract, options, 'consumeBatch');
  return definitionOf(plan, { kind: 'batch', run: checked(run, 'consumeBatch') as never });
}

function definitionOf(plan: Plan, handler: Handler): ConsumerDefinition {
  return Object.freeze({
    kind: 'consumer' as const,
    name: plan.contract.name,
    group: plan.group,
    contract: plan.contract,
    async start(host: Host, onTick?: () => void) {
      // Loaded by whoever consumes: a process that only runs jobs need not keep it.
      const { startConsumer } = await import('./consumer.ts');
      return startConsumer(host, plan, handler, onTick);
    },
  });
}

function checked<Run>(run: Run, owner: string): Run {
  if (typeof run === 'function') return run;
  throw new MillraceError('OPTIONS_INVALID', `${owner}: expected a function, got ${describeValue(run)}`, {});
}
