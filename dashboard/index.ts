/** Published as `millrace/dashboard`: the operator's web app, to embed in an Express app or to run on its own. */
export { createDashboard, type Dashboard } from './create-dashboard.ts';
export type { DashboardOptions } from './options.ts';
export { hashPassword } from './access/password.ts';
export { createUserLine } from './access/user-list.ts';
export type { Role } from './access/roles.ts';
export { dashboardLink, runDashboard, type RunDashboardOptions } from './main.ts';
export { alertHandler } from './alerts/webhook.ts';
export { alertJob, type AlertNotice } from './alerts/notice.ts';
export type { AlertOptions, WebhookOptions } from './alerts/options.ts';
export { prometheusRules } from './alerts/prometheus.ts';
export { DEFAULT_RULES, type AlertRule } from './alerts/rules.ts';
