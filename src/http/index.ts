/** Published as `millrace/http`: what needs Express. */
export { healthRouter, type HealthSource, type Middleware } from './health.ts';
export { listen, type Listener } from './listen.ts';
export { metricsRouter, type MetricsSource } from './metrics.ts';
