/** The public surface of Millrace. */
export { createPlatform, type EmbeddedRedisOptions, type Platform, type PlatformOptions } from './platform.ts';
export { readEnv, type Configuration, type DashboardConfiguration } from './env.ts';
export { ERROR_CODES, isMillraceError, MillraceError, type ErrorCode } from './errors.ts';
export { formatMs, toMs, type Duration } from './durations.ts';
export { systemClock, withDeadline, type Clock } from './clock.ts';
export { createLogger, type Logger, type LogLevel, type LogOptions } from './log.ts';
export { checkOptions, durationOption, nearest, parseInput, type Fault, type Schema } from './schema.ts';
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
export type { Jobs, JobsOptions, PlatformJobs, QueueCounts, WaitForOptions, WaitOptions } from './jobs/jobs.ts';
export { contractSecrets, type ContractInfo } from './jobs/contract-book.ts';
export type { RetryStatus } from './jobs/retry.ts';
export {
  SEARCHABLE_STATES,
  type JobFilter,
  type JobPage,
  type JobSummary,
  type SearchableState,
  type SearchOptions as JobSearchOptions,
} from './jobs/search/filter.ts';
export { hideSecrets } from './jobs/hide-secrets.ts';
export { maskSecrets, SECRET_MARK } from './secrets.ts';
export type { DeadLetterRetention } from './jobs/runtime.ts';
export type { Worker, WorkOptions } from './worker.ts';
export type { Fleet } from './jobs/fleet/fleet.ts';
export type { WorkerInfo } from './jobs/fleet/report.ts';
export type { Percentiles } from './jobs/history/buckets.ts';
export type { History, HistoryPoint, QueueSnapshot, SeriesOptions } from './jobs/history/history.ts';
export type { QueueOptions, WorkerOptions } from './jobs/worker/worker-options.ts';
export type { DeadLetters } from './jobs/dead-letters/dead-letters.ts';
export type { DeadLetter, Redriving } from './jobs/dead-letters/letter.ts';
export type { DeadLetterFilter } from './jobs/dead-letters/filter.ts';
export type { DeadLetterCluster } from './jobs/dead-letters/clusters.ts';
export type { DeadLetterPage } from './jobs/dead-letters/list-page.ts';
export type {
  ClusterOptions,
  DeadLetterTarget,
  DiscardOptions,
  DiscardResult,
  ListOptions,
  RedrivenJob,
  RedriveOptions,
  RedriveProgress,
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
export type { ListedHolder, ListedLock, LockListing, LockListOptions } from './lock/list.ts';
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
export type { EdgeKey } from './rate-limit/edge-keys.ts';
export { createLimits, type LimiterOptions, type Limits, type LimitsOptions } from './rate-limit/limits.ts';
export type { OnError } from './rate-limit/outage.ts';
export type { Algorithm, Policy, PolicyChange, PolicyInfo } from './rate-limit/policies.ts';
export {
  defineStream,
  type KeepEntries,
  type KeepLetters,
  type StreamContract,
  type StreamOptions,
} from './streams/contract.ts';
export { consume, consumeBatch, type ConsumerDefinition } from './streams/consumer/consume.ts';
export type {
  BatchEntry,
  BatchHandler,
  BatchOptions as EntryBatchOptions,
  CommonConsumerOptions,
  ConsumeBatchOptions as BatchConsumerOptions,
  ConsumeOptions as ConsumerOptions,
  EntryHandler,
} from './streams/consumer/plan.ts';
export type { RunningConsumer } from './streams/consumer/consumer.ts';
export type {
  BatchContext,
  BatchOwnContext,
  EntryContext,
  EntryFacts,
  EntryOwnContext,
  StreamModules,
} from './streams/context.ts';
export type { Host, Member, Running } from './streams/member.ts';
export { createStreams, type Streams, type StreamsOptions } from './streams/streams.ts';
export type { RunOptions, StreamWorker } from './streams/worker.ts';
export type { PublishOptions } from './streams/publisher.ts';
export type { HeldBy, Published } from './streams/scripts.ts';
export type { CreateGroupOptions, GroupInfo, RemovedGroup, RemoveGroupOptions } from './streams/groups.ts';
export type { StreamConsumerInfo, StreamGroupInfo, StreamInfo, StreamKeep } from './streams/inspect.ts';
export type { GroupConsumer, GroupLag } from './streams/lag.ts';
export type { Trimmed, TrimOptions } from './streams/trim.ts';
export type { StreamDeadLetters } from './streams/dead-letters/dead-letters.ts';
export type { StreamLetterFilter, StreamLetterOptions, StreamLetterPage } from './streams/dead-letters/filter.ts';
export type { StreamDeadLetter, StreamDeathReason } from './streams/dead-letters/letter.ts';
export {
  defineEvents,
  type EventMetadata,
  type EventsContract,
  type EventSchemas,
  type EventsOptions,
  type NewEvent,
  type RecordedEvent,
  type Upcaster,
} from './streams/event-store/contract.ts';
export {
  createEventStore,
  type AppendResult,
  type EventPage,
  type EventStore,
} from './streams/event-store/event-store.ts';
export type {
  AppendOptions,
  EventStoreOptions,
  ExpectedVersion,
  ReadAllOptions,
  ReadOptions,
} from './streams/event-store/options.ts';
export type {
  Aggregate,
  AggregateOptions,
  Loaded,
  UpdateOptions,
  UpdateResult,
} from './streams/event-store/aggregate.ts';
export { project, type Projection, type ProjectionOptions } from './streams/event-store/projection.ts';
export type { ProjectionState } from './streams/event-store/projection-state.ts';
export type { View } from './streams/event-store/view.ts';
export {
  subscribeTo,
  type EventContext,
  type EventHandler,
  type SubscribeOptions as EventSubscribeOptions,
} from './streams/event-store/subscription.ts';
export {
  defineTopic,
  type ReliableOptions,
  type Topic,
  type TopicAt,
  type TopicContract,
  type TopicOptions,
} from './pubsub/topic.ts';
export { createPubSub, type MessageOf, type PubSub, type Published as PublishedMessage } from './pubsub/pubsub.ts';
export type {
  PublishOptions as MessageOptions,
  PubSubOptions,
  RequestOptions,
  ServeOptions,
  SubscribeOptions,
} from './pubsub/options.ts';
export type { OverflowPolicy } from './pubsub/delivery.ts';
export type { Expiration, ExpirationListener, ExpirationOptions, KeyMatch } from './pubsub/expirations.ts';
export type { MessageStream } from './pubsub/message-stream.ts';
export type { RequestContext, RequestHandler, Serving } from './pubsub/serving.ts';
export type {
  CloseReason,
  Gap,
  MessageContext,
  Subscription,
  SubscriptionStats,
  TopicMessage,
} from './pubsub/subscription.ts';
export { createPresence, type Presence } from './pubsub/presence/presence.ts';
export type {
  EnterOptions,
  LeaveOptions,
  PresenceOptions,
  PresenceState,
  RoomOptions,
} from './pubsub/presence/options.ts';
export type { Member as RoomMember, PresenceChange, PresentUser } from './pubsub/presence/members.ts';
export type { LeaveResult, Membership } from './pubsub/presence/membership.ts';
export type { PresenceStats } from './pubsub/presence/presence-metrics.ts';
export type { Room, RoomEvents, RoomListener, RoomSnapshot } from './pubsub/presence/room.ts';
export type { Whereabouts } from './pubsub/presence/where.ts';
export { createLeaderboards, type Leaderboards } from './leaderboard/leaderboards.ts';
export type {
  BoardOptions,
  CalendarWindow,
  LeaderboardsOptions,
  RollingWindow,
  ScoreOptions,
  WindowOptions,
} from './leaderboard/options.ts';
export type {
  Archive as BoardArchive,
  CalendarNames,
  ClosedSeason,
  Leaderboard,
  Submission,
  SubmitManyOptions,
  SubmitOptions,
} from './leaderboard/leaderboard.ts';
export type { Submitted } from './leaderboard/writer.ts';
export type { BoardPage, Neighbours, RangeOptions, ScoreRange, Standing, Standings } from './leaderboard/standings.ts';
export type { Exported, ExportOptions } from './leaderboard/export.ts';
export type { Where as BoardWhere } from './leaderboard/windows.ts';
export type { Every, Period } from './leaderboard/calendar.ts';
export { createSessions, type Sessions } from './session/sessions.ts';
export type { Realm } from './session/realm.ts';
export type {
  CreateSessionOptions,
  RealmOptions,
  SessionData,
  SessionsOptions,
  ValidateSessionOptions,
} from './session/options.ts';
export type { SessionDevice } from './session/packed.ts';
export type { SessionKey } from './session/seal.ts';
export type { Session, SessionElevation, SessionRefusal, SessionUpdate, SessionValidation } from './session/session.ts';
export type { SessionEvent, SessionEvents } from './session/events.ts';
export type { SessionMetricsRegistry } from './session/session-metrics.ts';
export { createVectors, type ExpiringValues, type Vectors } from './vector/create-vectors.ts';
export type { IndexOptions, VectorsOptions } from './vector/options.ts';
export type { IndexStats, VectorIndex } from './vector/vector-index.ts';
export type { VectorItem } from './vector/documents.ts';
export type { UpsertOutcome, UpsertReport } from './vector/upserts.ts';
export type {
  HybridOptions,
  RangeOptions as VectorRangeOptions,
  Reranker,
  SearchHit,
  SearchOptions,
  SimilarOptions,
  TextSearchOptions,
  TextSearchResult,
} from './vector/search-options.ts';
export type { RebuildOptions, RebuildProgress, RebuildReport } from './vector/rebuild.ts';
export type { SelfTestOptions, SelfTestReport } from './vector/self-test.ts';
export {
  createSemanticCache,
  type AnswerScope,
  type CachedAnswer,
  type SemanticCache,
  type SemanticCacheOptions,
} from './vector/semantic-cache.ts';
export { localEmbedder, type LocalEmbedderOptions } from './vector/embedders/local-embedder.ts';
export { httpEmbedder, type HttpEmbedder } from './vector/embedders/http-embedder.ts';
export type { HttpEmbedderOptions } from './vector/embedders/http-options.ts';
export {
  cachedEmbedder,
  type CachedEmbedder,
  type EmbeddingCounts,
  type EmbeddingStore,
} from './vector/embedders/cached-embedder.ts';
export { createEmbeddingCache, type EmbeddingCache, type EmbeddingCacheOptions } from './vector/embedding-cache.ts';
export type { Embedded, Embedder, EmbedOptions, TextKind } from './vector/embedder.ts';
export { textChunker, type Chunker, type TextChunkerOptions, type Tokeniser } from './vector/chunker.ts';
export { filtersOf, type Filter, type FilterBuilder, type FilterLike } from './vector/filter.ts';
export type { FieldRule, FieldType, GeoPoint, Metadata, VectorSchema } from './vector/schema.ts';
export type { VectorLike } from './vector/vectors.ts';
