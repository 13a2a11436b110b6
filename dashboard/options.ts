/** Options of the dashboard, checked once. */
import { z } from 'zod';
import type { Duration, JobContract, StreamContract } from 'millrace';
import { checkOptions, durationOption } from 'millrace';
import { alertsOption, type AlertOptions } from './alerts/options.ts';

/** Options of createDashboard(). */
export interface DashboardOptions {
  /**
   * Who may sign in: `name:role:hash` for each, as `millrace password` prints it; roles are `viewer`, `operator` and `admin`. Without
   * any, here and in `usersFile`, a one-time link signs in as admin.
   */
  users?: readonly string[] | undefined;
  /** A file of such lines, or of a JSON list of them. It is read again when it changes: who is taken out of it loses access with the next request. */
  usersFile?: string | undefined;
  /** At least 32 characters, the same in all processes. Default: one that Redis keeps for all dashboards of the prefix. */
  secret?: string | undefined;
  /**
   * The path under which browsers see the dashboard, such as `/ops`. Default: where its router is mounted, after what X-Forwarded-Prefix says
   * (with `trustProxy`). Needed where a proxy takes a path away and does not tell.
   */
  basePath?: string | undefined;
  /** The address that people open, with the base path: for links that are printed and sent. Default: the address that is listened on. */
  url?: string | undefined;
  /**
   * Which proxies are believed, as Express's `trust proxy`: their number, or their addresses. Default: what the embedding app says, else none. Too
   * many, and anybody can make up an address.
   */
  trustProxy?: number | boolean | string | undefined;
  /** The session's cookie travels over TLS only. Default `auto`: when the request came over TLS, as far as `trustProxy` lets it be known. */
  secureCookies?: boolean | 'auto' | undefined;
  /** How long a session lives without being used. Default 8 h. */
  idle?: Duration | undefined;
  /** How long a session lives at most. Default 7 d. */
  absolute?: Duration | undefined;
  /** What `/metrics` asks for as bearer token, at least 16 characters without spaces. Without it there is no `/metrics`. */
  metricsToken?: string | undefined;
  /** How many actions the audit keeps. Default 100,000. */
  auditEntries?: number | undefined;
  /** How long the audit keeps them. Default 400 d. */
  auditFor?: Duration | undefined;
  /** Contracts whose inputs the dashboard is to check by their own schemas. Default: what workers have told Redis. */
  contracts?: readonly JobContract[] | undefined;
  /** Streams to show with what their contracts say. Default: what Redis knows of them. */
  streams?: readonly StreamContract[] | undefined;
  /** What the environment is called, such as `production`; shown on every page. */
  environment?: string | undefined;
  /** How often one process of all looks at Redis for what is live, 100 ms to 1 min. Default 5 s. Shorter ones cost Redis more. */
  collectEvery?: Duration | undefined;
  /** How many tabs of this process are told of what is live; others show what was when they were loaded. Default 200. */
  liveTabs?: number | undefined;
  /** What is watched, and who is told. Default: DEFAULT_RULES, nobody. With false, nothing is watched, and Redis is looked at only while a tab is open. */
  alerts?: AlertOptions | false | undefined;
}

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null;

const optionsSchema = z.strictObject({
  users: z.array(z.string()).readonly().default([]),
  usersFile: z.string().min(1).optional(),
  secret: z.string().min(32).optional(),
  basePath: z
    .string()
    .regex(/^(\/[\w.~-]+)*\/?$/, 'expected a path such as /ops')
    .transform((path) => path.replace(/\/$/, ''))
    .optional(),
  url: z
    .url({ protocol: /^https?$/, error: 'expected an address such as https://ops.example.com' })
    .transform((url) => url.replace(/\/$/, ''))
    .optional(),
  trustProxy: z.union([z.number(), z.boolean(), z.string()]).optional(),
  secureCookies: z.union([z.boolean(), z.literal('auto')]).default('auto'),
  idle: durationOption.prefault('8h'),
  absolute: durationOption.prefault('7d'),
  metricsToken: z
    .string()
    .regex(/^\S{16,}$/, 'expected at least 16 characters, without spaces')
    .optional(),
  auditEntries: z.int().min(100).max(10_000_000).default(100_000),
  auditFor: durationOption.prefault('400d'),
  contracts: z
    .array(z.custom<JobContract>(isObject, 'expected a contract, as defineJob() makes it'))
    .readonly()
    .default([]),
  streams: z
    .array(z.custom<StreamContract>(isObject, 'expected a contract, as defineStream() makes it'))
    .readonly()
    .default([]),
  environment: z.string().max(40).optional(),
  collectEvery: durationOption.refine((ms) => ms >= 100 && ms <= 60_000, 'expected 100 ms to 1 min').prefault('5s'),
  liveTabs: z.int().min(0).max(10_000).default(200),
  alerts: alertsOption,
});

/** What pages find at desk.options; durations are milliseconds. */
export type CheckedOptions = Readonly<z.output<typeof optionsSchema>>;

/** @throws MillraceError OPTIONS_INVALID, which tells nothing of a secret */
export function checkDashboard(options: DashboardOptions): CheckedOptions {
  return checkOptions(optionsSchema, options, 'createDashboard', ['users', 'secret', 'metricsToken', 'alerts']);
}
