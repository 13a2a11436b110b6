/** Published as `millrace/http`: what needs Express. */
export {
  autoscaleRouter,
  type AutoscaleAnswer,
  type AutoscaleOptions,
  type AutoscalePlatform,
  type QueueFigures,
} from './autoscale.ts';
export { csrf, type Csrf, type CsrfOptions, type CsrfRequest } from './csrf.ts';
export {
  expressSessionStore,
  type ExpressSessionModule,
  type ExpressSessionStoreOptions,
  type SessionDataOf,
  type SessionStoreMethods,
  type StoredSession,
} from './express-session-store.ts';
export { healthRouter, type HealthSource, type Middleware } from './health.ts';
export { listen, type Listener } from './listen.ts';
export {
  createApiKeys,
  type ApiKey,
  type ApiKeys,
  type ApiKeysOptions,
  type CreateApiKeyOptions,
} from './producer/api-keys.ts';
export { producerOpenApi, type OpenApiDocument, type OpenApiOptions } from './producer/openapi.ts';
export { contractsIn } from './producer/contract-facts.ts';
export { producerRouter, type ProducerOptions } from './producer/producer-router.ts';
export { metricsRouter, type MetricsSource } from './metrics.ts';
export {
  addressKey,
  rateLimit,
  userKey,
  type AddressKeyOptions,
  type HttpLimiter,
  type LimitedRequest,
  type RateLimitForm,
  type RateLimitOptions,
  type ToldPolicy,
} from './rate-limit.ts';
export {
  requireSession,
  sessionMiddleware,
  sessionOf,
  type HttpRealm,
  type HttpSession,
  type SessionMiddlewareOptions,
  type SessionRequest,
  type SignInOptions,
} from './session.ts';
