/** Published as `millrace/http`: what needs Express. */
export { healthRouter, type HealthSource, type Middleware } from './health.ts';
export { listen, type Listener } from './listen.ts';
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
