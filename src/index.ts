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
