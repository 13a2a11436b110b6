/**
 * Sends jobs to their queues.
 *
 * Promise: what resolved is in Redis. What rejected because of its input or options left nothing behind. An enqueue without a key
 * that had no answer within its deadline is withdrawn (withdrawals.ts), so that it does not run later; only a worker that took it in
 * the moment between is not stopped. One with a key (unique, idempotencyKey) that may have arrived is not withdrawn, because another
 * caller may have been told by now that his job is this one; sending it again is safe.
 *
 * Redis down: nothing is sent while there is no connection (delivery.ts); at the deadline (2 s) ENQUEUE_TIMEOUT with the reason as its
 * cause. A connection that is lost on the way is tried again until then: the id is made here, so that who repeats it adds nothing, as long
 * as the job or its dead letter is there. A job that has completed meanwhile and is kept no more runs twice, without a key.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { SpanKind, TelemetryAttributes, type IRedisTransaction, type JobJson } from 'bullmq';
import type { ChainableCommander } from 'ioredis';
import { systemClock, type Clock } from '../clock.ts';
import { isMillraceError, MillraceError } from '../errors.ts';
import type { JobContract } from './contract.ts';
import { Delivery, type Shipment, type Way } from './delivery.ts';
import { planEnqueue, type EnqueueOptions, type EnqueuePlan } from './enqueue-options.ts';
import { createJobIds } from './job-id.ts';
import type { JobMetrics } from './job-metrics.ts';
import { encodeInput } from './input.ts';
import type { OpenQueue, QueueSet } from './queue-set.ts';

/** What became of an enqueue. */
export type EnqueueStatus = 'added' | 'duplicate' | 'replaced' | 'rescheduled';

/** The answer to an enqueue. */
export interface Enqueued {
  /** The job that now stands for the input: the new one, or of a duplicate the one that was there. */
  id: string;
  status: EnqueueStatus;
}

/** What a producer is made of. */
export interface ProducerOptions {
  queues: QueueSet;
  metrics: JobMetrics;
  deadlineMs: number;
  maxPayloadBytes: number;
  /** Of BullMQ's kind. */
  telemetry?: object | undefined;
  clock?: Clock | undefined;
}

/** Jobs in one round trip of enqueueMany. */
export const BULK_SIZE = 1_000;
/** Round trips of enqueueMany that are under way at once: while Redis works on one, the next one is built. */
const BULKS_IN_FLIGHT = 2;

/** Jobs of a round trip that are built in one turn of the event loop. */
const BUILT_AT_ONCE = 50;
/** Inputs that are checked in one turn of it. */
const CHECKED_AT_ONCE = 1_000;

/** A job that is laid out but not sent. */
interface Entry {
  job: JobJson;
  jobId: string;
  plan: EnqueuePlan;
}

/** What of a contract is needed to send a job whose input has been encoded. */
export type JobTarget = Pick<JobContract, 'name' | 'queue'>;

/** Sends jobs to their queues. */
export class Producer {
  readonly #queues: QueueSet;
  readonly #metrics: JobMetrics;
  readonly #deadlineMs: number;
  readonly #telemetry: object | undefined;
  /** The largest input, in bytes of JSON. */
  readonly maxPayloadBytes: number;
  readonly delivery: Delivery;
  readonly #nextId = createJobIds();
  readonly #nowMs: () => number;

  constructor({ queues, metrics, deadlineMs, maxPayloadBytes, telemetry, clock = systemClock }: ProducerOptions) {
    this.#telemetry = telemetry;
    this.#queues = queues;
    this.#metrics = metrics;
    this.#deadlineMs = deadlineMs;
    this.maxPayloadBytes = maxPayloadBytes;
    this.delivery = new Delivery(queues, clock);
    this.#nowMs = () => clock.wallMs();
  }

  /** Adds one job. */
  async enqueue<Input>(
    contract: JobContract<Input>,
    input: Input,
    options?: EnqueueOptions,
    { isAwaited = false }: { isAwaited?: boolean } = {},
  ): Promise<Enqueued> {
    const encoded = encodeInput(contract, input, this.maxPayloadBytes);
    const json = typeof encoded === 'string' ? encoded : await encoded;
    // After the input was checked, because a unique key is made of it.
    let plan = planEnqueue(contract, input, options, this.#nowMs);
    if (isAwaited) plan = { ...plan, opts: { ...plan.opts, wait: 1 } };
    const enqueued = await this.#ship(contract, this.entry(contract, json, plan));
    this.#metrics.forContract(contract.queue, contract.name).enqueued(enqueued.status);
    return enqueued;
  }

  /** Adds many jobs, in the order given; none when one of them is refused. */
  async enqueueMany<Input>(
    contract: JobContract<Input>,
    inputs: readonly Input[],
    options?: EnqueueOptions | ((input: Input, index: number) => EnqueueOptions),
  ): Promise<Enqueued[]> {
    const entries = await this.#layOutAll(contract, inputs, options);
    const results: Enqueued[][] = [];
    let next = 0;
    let failure: unknown;
    const lane = async (): Promise<void> => {
      while (failure === undefined && next * BULK_SIZE < entries.length) {
        const bulk = next++;
        const from = bulk * BULK_SIZE;
        try {
          results[bulk] = await this.#sendBulk(contract, entries.slice(from, from + BULK_SIZE));
        } catch (error) {
          failure ??= error;
        }
      }
    };
    await Promise.all(Array.from({ length: BULKS_IN_FLIGHT }, lane));
    if (failure !== undefined) throw partly(failure, results, entries.length);
    return results.flat();
  }

  close(): void {
    this.delivery.close();
  }

  /** A job as BullMQ's scripts take it, with an id of its own. */
  entry(contract: JobTarget, json: string, plan: EnqueuePlan): Entry {
    const { opts } = plan;
    const job = { name: contract.name, data: json, opts, timestamp: this.#nowMs() } as JobJson;
    if (opts.deduplication) job.deduplicationId = opts.deduplication.id;
    return { job, jobId: this.#nextId(), plan };
  }

  /** Sends a job whose input has been encoded. */
  async send(contract: JobTarget, entry: Entry): Promise<Enqueued> {
    const enqueued = await this.#ship(contract, entry);
    this.#metrics.forContract(contract.queue, contract.name).enqueued(enqueued.status);
    return enqueued;
  }

  #ship({ name, queue }: JobTarget, entry: Entry): Promise<Enqueued> {
    const deadlineMs = entry.plan.deadlineMs ?? this.#deadlineMs;
    const isTraced = this.#telemetry !== undefined;
    return this.delivery.deliver(new OneJob(name, this.#queues.get(queue), deadlineMs, entry, isTraced));
  }

  async #layOutAll<Input>(
    contract: JobContract<Input>,
    inputs: readonly Input[],
    options: EnqueueOptions | ((input: Input, index: number) => EnqueueOptions) | undefined,
  ): Promise<Entry[]> {
    const entries: Entry[] = [];
    for (const [index, input] of inputs.entries()) {
      // Leases must be renewed meanwhile, and requests answered.
      if (index > 0 && index % CHECKED_AT_ONCE === 0) await nextTurn();
      try {
        const said = typeof options === 'function' ? options(input, index) : options;
        const encoded = encodeInput(contract, input, this.maxPayloadBytes);
        const json = typeof encoded === 'string' ? encoded : await encoded;
        entries.push(this.entry(contract, json, planEnqueue(contract, input, said, this.#nowMs)));
      } catch (error) {
        if (!isMillraceError(error)) throw error;
        const message = `job ${index} of ${inputs.length}: ${error.message}; nothing was enqueued`;
        throw new MillraceError(error.code, message, { ...error.facts, index, cause: error });
      }
    }
    return entries;
  }

  async #sendBulk(contract: JobContract, entries: Entry[]): Promise<Enqueued[]> {
    const queue = this.#queues.get(contract.queue);
    const isTraced = this.#telemetry !== undefined;
    const results = await this.delivery.deliver({
      contract: contract.name,
      queue,
      deadlineMs: shortestDeadline(entries) ?? this.#deadlineMs,
      send: (way) => {
        if (!isTraced) return addAll(queue, entries, way);
        return traced(queue, 'addBulk', entries, () => addAll(queue, entries, way));
      },
      ids: () => entries.map(({ jobId }) => jobId),
      withdrawable: () => withdrawable(entries),
    });
    const meter = this.#metrics.forContract(contract.queue, contract.name);
    for (const { status } of results) meter.enqueued(status);
    return results;
  }
}

/** One job on its way. A class, because there is one for each enqueue, and closures would be made anew for each. */
class OneJob implements Shipment<Enqueued> {
  readonly contract: string;
  readonly queue: OpenQueue;
  readonly deadlineMs: number;
  readonly #entry: Entry;
  readonly #isTraced: boolean;

  constructor(contract: string, queue: OpenQueue, deadlineMs: number, entry: Entry, isTraced: boolean) {
    this.contract = contract;
    this.queue = queue;
    this.deadlineMs = deadlineMs;
    this.#entry = entry;
    this.#isTraced = isTraced;
  }

  send(way: Way): Promise<Enqueued> {
    // What nearly all are goes without a promise in between.
    if (!this.#isTraced && this.#entry.plan.rule === undefined) return addPlain(this.queue, this.#entry, way);
    if (!this.#isTraced) return addOne(this.queue, this.#entry, way);
    return traced(this.queue, 'add', [this.#entry], () => addOne(this.queue, this.#entry, way));
  }

  ids(): string[] {
    return [this.#entry.jobId];
  }

  withdrawable(): string[] {
    return withdrawable([this.#entry]);
  }
}

/** The jobs carry the trace of whoever enqueues them. */
async function traced<T>(
  queue: OpenQueue,
  operation: string,
  entries: readonly Entry[],
  send: () => Promise<T>,
): Promise<T> {
  const [first] = entries;
  const target = operation === 'add' ? `${queue.name}.${first?.job.name}` : queue.name;
  return await queue.queue.trace(SpanKind.PRODUCER, operation, target, async (span, metadata) => {
    for (const { job } of entries) if (metadata) job.opts = { ...job.opts, telemetry: { metadata } };
    if (operation === 'add') {
      span?.setAttributes({
        [TelemetryAttributes.JobName]: String(first?.job.name),
        [TelemetryAttributes.JobId]: String(first?.jobId),
      });
    }
    return send();
  });
}

function withdrawable(entries: readonly Entry[]): string[] {
  return entries.flatMap(({ plan, jobId }) => (plan.rule === undefined ? [jobId] : []));
}

/** The least patient of the jobs decides. */
function shortestDeadline(entries: readonly Entry[]): number | undefined {
  let shortest: number | undefined;
  for (const { plan } of entries) {
    if (plan.deadlineMs !== undefined && plan.deadlineMs < (shortest ?? Infinity)) shortest = plan.deadlineMs;
  }
  return shortest;
}

/** Why not all were enqueued, with the places of those that were not. */
function partly(failure: unknown, results: ReadonlyArray<Enqueued[] | undefined>, total: number): unknown {
  if (!isMillraceError(failure)) return failure;
  const notEnqueued: Array<{ from: number; to: number }> = [];
  for (let from = 0; from < total; from += BULK_SIZE) {
    if (results[from / BULK_SIZE]) continue;
    const last = notEnqueued.at(-1);
    const to = Math.min(from + BULK_SIZE, total);
    if (last?.to === from) last.to = to;
    else notEnqueued.push({ from, to });
  }
  const count = notEnqueued.reduce((sum, { from, to }) => sum + to - from, 0);
  const message = `${count} of ${total} jobs were not enqueued: ${failure.message}`;
  const { ids: _ids, ...facts } = failure.facts;
  return new MillraceError(failure.code, message, { ...facts, notEnqueued, cause: failure.cause });
}

function addOne(queue: OpenQueue, entry: Entry, way: Way): Promise<Enqueued> {
  switch (entry.plan.rule) {
    case 'replace':
      return addReplacing(queue, entry, way);
    case 'debounce':
      return addDebounced(queue, entry, way);
    case 'reschedule':
      return addOrReschedule(queue, entry, way);
    case 'ignore':
    case undefined:
      return addPlain(queue, entry, way);
  }
}

async function addPlain({ backend, client }: OpenQueue, { job, jobId }: Entry, way: Way): Promise<Enqueued> {
  if (way.arrived.has(jobId)) return { id: jobId, status: 'added' };
  if (!client) await backend.client;
  way.depart();
  const id = client ? await backend.addJobToTransaction(client, job, jobId) : await backend.addJob(job, jobId, {});
  return { id, status: id === jobId ? 'added' : 'duplicate' };
}

/** The latest input must run: an earlier job that is due already, but whose key still counts, is let go of. */
async function addDebounced(queue: OpenQueue, entry: Entry, way: Way): Promise<Enqueued> {
  for (;;) {
    const enqueued = await addReplacing(queue, entry, way);
    if (enqueued.status !== 'duplicate') return enqueued;
    await queue.backend.removeDeduplicationKey(entry.job.deduplicationId ?? '', enqueued.id);
  }
}

/** Whose place was taken stands in the key of the deduplication, which the script overwrites: so it is read in the same transaction. */
async function addReplacing(queue: OpenQueue, entry: Entry, way: Way): Promise<Enqueued> {
  if (way.arrived.has(entry.jobId)) return { id: entry.jobId, status: 'added' };
  const client = await queue.backend.client;
  const transaction = client.multi() as IRedisTransaction & ChainableCommander;
  transaction.get(`${queue.key('de')}:${entry.job.deduplicationId}`);
  await queue.backend.addJobToTransaction(transaction, entry.job, entry.jobId);
  way.depart();
  const replies = (await transaction.exec()) as Array<[Error | null, unknown]> | null;
  const [before, added] = replies ?? [];
  if (!before || !added)
    throw new MillraceError('REDIS_UNREACHABLE', 'the transaction had no answer', { queue: queue.name });
  const error = before[0] ?? added[0];
  if (error) throw error;
  const id = String(added[1]);
  if (id !== entry.jobId) return { id, status: 'duplicate' };
  return { id, status: before[1] === null || before[1] === entry.jobId ? 'added' : 'replaced' };
}

/** The script moves the earlier job only if that is delayed, and does not say so; a worker may take it right after. */
async function addOrReschedule(queue: OpenQueue, entry: Entry, way: Way): Promise<Enqueued> {
  if (way.arrived.has(entry.jobId)) return { id: entry.jobId, status: 'added' };
  const earlier = await queue.queue.getDeduplicationJobId(entry.job.deduplicationId ?? '');
  const wasDelayed = earlier !== null && (await queue.backend.isJobInState('delayed', earlier));
  way.depart();
  const id = await queue.backend.addJob(entry.job, entry.jobId, {});
  if (id === entry.jobId) return { id, status: 'added' };
  const isMoved = (wasDelayed && id === earlier) || (await queue.backend.isJobInState('delayed', id));
  return { id, status: isMoved ? 'rescheduled' : 'duplicate' };
}

async function addAll(queue: OpenQueue, entries: readonly Entry[], way: Way): Promise<Enqueued[]> {
  if (entries.some(({ plan }) => plan.rule !== undefined && plan.rule !== 'ignore')) {
    return Promise.all(entries.map((entry) => addOne(queue, entry, way)));
  }
  if (way.arrived.size === 0) return addPipelined(queue, entries, way);
  const missing = entries.filter(({ jobId }) => !way.arrived.has(jobId));
  const sent = missing.length === 0 ? [] : await addPipelined(queue, missing, way);
  const answers = new Map(missing.map(({ jobId }, index) => [jobId, sent[index]]));
  return entries.map(({ jobId }) => answers.get(jobId) ?? { id: jobId, status: 'added' });
}

/** In pieces, each written as soon as it is built: the server adds those while the next ones are built. */
async function addPipelined(queue: OpenQueue, entries: readonly Entry[], way: Way): Promise<Enqueued[]> {
  const client = await queue.backend.client;
  const pieces: Array<Promise<unknown>> = [];
  for (let from = 0; from < entries.length; from += BUILT_AT_ONCE) {
    const pipeline = client.pipeline();
    for (const { job, jobId } of entries.slice(from, from + BUILT_AT_ONCE)) {
      void queue.backend.addJobToTransaction(pipeline, job, jobId);
    }
    way.depart();
    const piece = pipeline.exec();
    piece.catch(() => undefined); // Told below, once all are on their way.
    pieces.push(piece);
    await nextTurn();
  }
  const replies = (await Promise.all(pieces)).flat() as Array<[Error | null, unknown]>;
  return replies.map(([error, id], index): Enqueued => {
    if (error) throw error;
    return { id: String(id), status: id === entries[index]?.jobId ? 'added' : 'duplicate' };
  });
}
