/**
 * Flows: a job that runs when its children have.
 *
 * A flow is added as a whole or not at all. What becomes of the parent when a child fails for good is said by each child, because a
 * parent that silently waits for ever is what users of flows meet most. In a Cluster, the queues of one flow must be of one
 * family (their names agree up to the first dot).
 *
 * Redis down: as for an enqueue, see producer.ts. A flow that had no answer in time is withdrawn as a whole.
 */
import { FlowProducer, type FlowJob } from 'bullmq';
import { z } from 'zod';
import { MillraceError } from '../errors.ts';
import { checkOptions } from '../schema.ts';
import { loadScripts } from './bull-scripts.ts';
import type { JobContract } from './contract.ts';
import type { JobsCore } from './core.ts';
import type { Way } from './delivery.ts';
import { enqueueShape, planEnqueue, type EnqueueOptions } from './enqueue-options.ts';
import { createJobIds } from './job-id.ts';
import { encodeInput } from './input.ts';
import { familyOf } from './queue-names.ts';

/** What becomes of the parent when the child fails for good: it fails too, or it runs and is told. */
export const CHILD_FAILURE_POLICIES = ['fail-parent', 'run-parent'] as const;
export type ChildFailurePolicy = (typeof CHILD_FAILURE_POLICIES)[number];

/** A job of a flow; made by flow(). */
export interface Flow {
  readonly contract: JobContract;
  readonly input: unknown;
  readonly options: EnqueueOptions | undefined;
  readonly onFailure: ChildFailurePolicy;
  readonly children: readonly Flow[];
}

/** Options of a job of a flow. */
export interface FlowOptions extends EnqueueOptions {
  /** What becomes of the parent when this job fails for good. Default `fail-parent`. */
  onFailure?: ChildFailurePolicy | undefined;
  /** Jobs that must have ended before this one runs. */
  children?: readonly Flow[] | undefined;
}

/** The ids of a flow that was added. */
export interface EnqueuedFlow {
  id: string;
  children: EnqueuedFlow[];
}

/**
 * A job of a flow, to be given to `jobs.enqueueFlow()` or to another flow as a child.
 *
 * @example
 * await jobs.enqueueFlow(flow(report, { month: 7 }, {
 *   children: [flow(fetchSales, { month: 7 }), flow(fetchCosts, { month: 7 }, { onFailure: 'run-parent' })],
 * }));
 */
export function flow<Input>(contract: JobContract<Input>, input: NoInfer<Input>, options: FlowOptions = {}): Flow {
  checkOptions(flowSchema, options, `flow ${contract?.name}`);
  const { onFailure = 'fail-parent', children = [], ...rest } = options;
  const isPlain = Object.keys(rest).length === 0;
  return Object.freeze({ contract, input, options: isPlain ? undefined : rest, onFailure, children: [...children] });
}

const flowSchema = z.strictObject({
  ...enqueueShape,
  onFailure: z.enum(CHILD_FAILURE_POLICIES, { error: `expected ${CHILD_FAILURE_POLICIES.join(' or ')}` }).optional(),
  children: z
    .array(
      z.custom<Flow>((value) => typeof value === 'object' && value !== null && 'contract' in value, {
        error: 'expected a flow, as flow() makes it',
      }),
    )
    .optional(),
});

/** What a Flow of BullMQ's producer has beyond its declared type. */
interface FlowBackend {
  /** The root comes first. */
  addFlow(entries: Array<{ jobId: string }>): Promise<Array<[Error | null, unknown]>>;
}

/** Adds flows for one process. */
export class Flows {
  readonly #core: JobsCore;
  readonly #deadlineMs: number;
  readonly #maxPayloadBytes: number;
  readonly #nextId = createJobIds();
  /** Flows that BullMQ is laying out, by the ids of their roots. */
  readonly #departing = new Map<string, Way>();
  #producer: FlowProducer | undefined;

  constructor(core: JobsCore, { deadlineMs, maxPayloadBytes }: { deadlineMs: number; maxPayloadBytes: number }) {
    this.#core = core;
    this.#deadlineMs = deadlineMs;
    this.#maxPayloadBytes = maxPayloadBytes;
  }

  /** Adds the whole flow. @throws MillraceError INPUT_INVALID, PAYLOAD_TOO_LARGE, OPTIONS_INVALID, FLOW_SLOTS_DIFFER, ENQUEUE_TIMEOUT */
  async enqueue(root: Flow): Promise<EnqueuedFlow> {
    const { queues, producer, metrics } = this.#core;
    this.#checkFamilies(root);
    const deadlines: number[] = [];
    const node = await this.#layOut(root, undefined, deadlines);
    const ids = idsOf(node);
    const queue = queues.get(root.contract.queue);
    const send = async (way: Way): Promise<void> => {
      for (const name of queuesOf(root)) queues.register(name);
      // It goes in one transaction, so if its root has arrived, all of it has.
      if (way.arrived.has(ids.id)) return;
      const flows = this.#open();
      await flows.waitUntilReady();
      await loadScripts(queues.client, queue.key(ids.id));
      this.#departing.set(ids.id, way);
      try {
        await flows.add(node);
      } finally {
        this.#departing.delete(ids.id);
      }
    };
    await producer.delivery.deliver({
      contract: `the flow ${root.contract.name}`,
      queue,
      deadlineMs: deadlines.length > 0 ? Math.min(...deadlines) : this.#deadlineMs,
      send,
      ids: () => [ids.id],
      withdrawable: () => [ids.id],
      hasChildren: true,
    });
    for (const { queue: of, name } of contractsOf(root)) metrics.forContract(of, name).enqueued('added');
    return ids;
  }

  async close(): Promise<void> {
    await this.#producer?.close();
  }

  #open(): FlowProducer {
    if (this.#producer) return this.#producer;
    const { queues, telemetry, log } = this.#core;
    const producer = new FlowProducer({
      connection: queues.client,
      skipWaitingForReady: true,
      skipVersionCheck: true,
      ...(telemetry !== undefined && { telemetry: telemetry as never }),
    });
    producer.on('error', (error) => log.debug({ err: error }, 'flows'));
    // BullMQ looks at the root's answer only, and a parent without one of its children would run too early.
    const { backend } = producer as unknown as { backend: FlowBackend };
    const addFlow = backend.addFlow.bind(backend);
    backend.addFlow = async (entries) => {
      this.#departing.get(entries[0]?.jobId ?? '')?.depart();
      const answers = await addFlow(entries);
      for (const [error, id] of answers) {
        if (error) throw error;
        if (typeof id === 'number') throw new MillraceError('REDIS_FAILED', `a job of the flow was refused with ${id}`);
      }
      return answers;
    };
    return (this.#producer = producer);
  }

  async #layOut(node: Flow, parent: Flow | undefined, deadlines: number[]): Promise<FlowJob> {
    const { contract, input, options, onFailure, children } = node;
    if (contract.unique || options?.idempotencyKey !== undefined) {
      const message = `flow ${contract.name}: a job of a flow cannot be unique or have an idempotencyKey`;
      throw new MillraceError('OPTIONS_INVALID', message, { contract: contract.name });
    }
    const json = await encodeInput(contract, input, this.#maxPayloadBytes);
    const { opts, deadlineMs } = planEnqueue(contract, input, options, () => this.#core.clock.wallMs());
    if (deadlineMs !== undefined) deadlines.push(deadlineMs);
    return {
      name: contract.name,
      queueName: contract.queue,
      prefix: this.#core.queues.keys.queuePrefix(contract.queue),
      data: JSON.parse(json) as unknown,
      opts: {
        ...opts,
        jobId: this.#nextId(),
        ...(children.length > 0 && { kids: 1 }),
        ...(parent &&
          (onFailure === 'fail-parent' ? { failParentOnFailure: true } : { ignoreDependencyOnFailure: true })),
      },
      ...(children.length > 0 && {
        children: await Promise.all(children.map((child) => this.#layOut(child, node, deadlines))),
      }),
    };
  }

  #checkFamilies(root: Flow): void {
    if (this.#core.connections.topology !== 'cluster') return;
    const queues = queuesOf(root);
    if (new Set(queues.map(familyOf)).size <= 1) return;
    const message = `the flow ${root.contract.name} is in the queues ${queues.join(', ')}; in a Cluster their names must agree up to the first dot`;
    throw new MillraceError('FLOW_SLOTS_DIFFER', message, { queues });
  }
}

function queuesOf({ contract, children }: Flow): string[] {
  return [...new Set([contract.queue, ...children.flatMap(queuesOf)])];
}

function contractsOf({ contract, children }: Flow): JobContract[] {
  return [contract, ...children.flatMap(contractsOf)];
}

function idsOf({ opts, children = [] }: FlowJob): EnqueuedFlow {
  return { id: opts?.jobId ?? '', children: children.map(idsOf) };
}
