/** The public surface of Millrace. */
export { createPlatform, type EmbeddedRedisOptions, type Platform, type PlatformOptions } from './platform.ts';
export { readEnv, type Configuration } from './env.ts';
export { ERROR_CODES, isMillraceError, MillraceError, type ErrorCode } from './errors.ts';
export { formatMs, toMs, type Duration } from './durations.ts';
export { systemClock, withDeadline, type Clock } from './clock.ts';
export { createLogger, type Logger, type LogLevel, type LogOptions } from './log.ts';
export { parseInput, type Fault, type Schema } from './schema.ts';
export type { Check, Health } from './health.ts';
export type { RedisOptions, TlsOptions, Topology } from './redis/address.ts';
export { requireFeature, type Capabilities, type Feature } from './redis/capabilities.ts';
export type { RedisClient, Role, SearchClient } from './redis/clients.ts';
export { createConnections, type Connections } from './redis/connect.ts';
export type { Finding, NodeReport, Report, Severity } from './redis/doctor.ts';
export { formatReport } from './redis/doctor-text.ts';
export { createKeySpace, type KeySpace } from './redis/keys.ts';
export { defineScript, type Script, type ScriptClient, type ScriptValue } from './redis/script.ts';
export { createBatch, type Batch } from './redis/batch.ts';
export { runWorker } from './run-worker.ts';
export { stopSignal } from './stop-signal.ts';
export {
  defineJob,
  type ConflictPolicy,
  type JobContract,
  type JobOptions,
  type RetentionOptions,
  type UniqueOptions,
} from './jobs/contract.ts';
export type { Backoff, BackoffFunction, ExponentialBackoff, FixedBackoff } from './backoff.ts';
export {
  handle,
  postpone,
  unrecoverable,
  type ChildResults,
  type HandleOptions,
  type Handler,
  type JobContext,
  type JobFacts,
  type JobModules,
  type Run,
} from './jobs/handler.ts';
export type { JobLog, LogLine } from './jobs/worker/job-log.ts';
export type { EnqueueOptions } from './jobs/enqueue-options.ts';
export type { Enqueued, EnqueueStatus } from './jobs/producer.ts';
export { flow, type ChildFailurePolicy, type EnqueuedFlow, type Flow, type FlowOptions } from './jobs/flows.ts';
export type { CancelOptions, CancelStatus } from './jobs/cancel.ts';
export type { JobInfo, JobState } from './jobs/inspect.ts';
export type { AttemptOutcome, AttemptRecord, DeathReason as DeadReason } from './jobs/attempt-record.ts';
export type { Jobs, JobsOptions, QueueCounts, WaitOptions } from './jobs/jobs.ts';
export type { DeadLetterRetention, Worker } from './jobs/runtime.ts';
export type { QueueOptions, WorkerOptions } from './jobs/worker/worker-options.ts';
export type { DeadLetters } from './jobs/dead-letters/dead-letters.ts';
export type { DeadLetter, Redriving } from './jobs/dead-letters/letter.ts';
export type { DeadLetterFilter } from './jobs/dead-letters/filter.ts';
export type { DeadLetterCluster } from './jobs/dead-letters/clusters.ts';
export type { DeadLetterPage } from './jobs/dead-letters/list-page.ts';
export type {
  DeadLetterTarget,
  DiscardOptions,
  DiscardResult,
  ListOptions,
  RedriveOptions,
  RedriveResult,
  Skipped,
} from './jobs/dead-letters/options.ts';
export { createMetrics, type Metrics, type MetricsOptions } from './metrics/registry.ts';
export { schedule, type Schedule, type ScheduleOptions, type ScheduleTiming } from './jobs/schedules/schedule.ts';
export type { ReconcileOptions, Schedules } from './jobs/schedules/schedules.ts';
export type { Reconciled } from './jobs/schedules/reconcile.ts';
export type { RunStatus, ScheduleInfo } from './jobs/schedules/list.ts';
export type { MissedPolicy } from './jobs/schedules/settle.ts';
export type { ThreadOptions } from './jobs/isolate/threads.ts';
export type { ModuleOptions, Modules } from './modules.ts';
export {
  createCache,
  type CacheOptions,
  type CacheOutageOptions,
  type CreateCacheOptions,
  type FirstLevelOptions,
} from './cache/create-cache.ts';
export type { Cache, WrapOptions } from './cache/cache.ts';
export type { BatchCache, BatchOptions, BatchResult, LoadMany } from './cache/batch.ts';
export { jsonCodec, structuredCodec, type Codec } from './cache/codec.ts';
export type { CacheStats } from './cache/counts.ts';
export type { Isolation } from './cache/first-level.ts';
export type { KeepOptions, LoadDefaults, LoadOptions, SetOptions, Tier, Tiers } from './cache/options.ts';
export type { LoadContext, Loader } from './cache/run-loader.ts';
export type { LetterError, StoreDeadLetter } from './cache/stores/letter.ts';
export type { RetryOptions, WriteBehindOptions, WriteThroughOptions } from './cache/stores/options.ts';
export type {
  BehindStore,
  Change,
  FailedChange,
  SaveContext,
  StoreContext,
  StoreKeepOptions,
  ThroughStore,
} from './cache/stores/store.ts';
export type {
  StoreDeadLetters,
  StoreLetterFilter,
  StoreLetterOptions,
  StoreLetterPage,
} from './cache/stores/store-dead-letters.ts';
export type { PendingChanges, WriteBehind } from './cache/stores/write-behind.ts';
export type { WriteThrough } from './cache/stores/write-through.ts';
export { createLocks, type Locks } from './lock/locks.ts';
export type { Fence, FenceVerdict } from './lock/fence.ts';
export type { LockHolder, LockInspection, LockWaiter } from './lock/inspect.ts';
export type { Held, Lock, ReleaseResult } from './lock/lock.ts';
export type { LockSet } from './lock/lock-set.ts';
export type { LockOptions, LocksOptions, UsingOptions } from './lock/options.ts';
export type { PermitOptions, PermitUsingOptions, SemaphoreOptions } from './lock/permits/permit-options.ts';
export type { ReadWriteInspection, ReadWriteLock } from './lock/permits/read-write.ts';
export type { Semaphore, SemaphoreInspection } from './lock/permits/semaphore.ts';
export type { WriteLock } from './lock/permits/write-lock.ts';
export type {
  ConcurrencyLimit,
  ConcurrencyOptions,
  NoSlot,
  Slot,
  SlotOptions,
  Used,
} from './rate-limit/concurrency.ts';
export type {
  ConsumeOptions,
  ConsumeResult,
  DecisionSource,
  Limiter,
  LimitWaitOptions,
  PolicyResult,
} from './rate-limit/limiter.ts';
export { createLimits, type LimiterOptions, type Limits, type LimitsOptions } from './rate-limit/limits.ts';
export type { OnError } from './rate-limit/outage.ts';
export type { Algorithm, Policy, PolicyChange, PolicyInfo } from './rate-limit/policies.ts';
