/** What a family of stock jobs is to the process that runs them: what it reads of the environment, and what it brings. */
import { isMillraceError, type Fault, type Handler, type Member, type PlatformOptions, type Schedule } from 'millrace';
import type { z } from 'zod';

/** The variables that are set, checked, by name. */
export type Values = Readonly<Record<string, unknown>>;

/** Which variable stands behind an option, by the option's path in faults. */
export type Variables = Readonly<Record<string, string>>;

/** A job, and what runs of it where its settings have what it needs. */
export interface StockPart {
  /** Of the job, or of the consumer. */
  readonly name: string;
  /** Told where it is left out, such as `set SMTP_URL` or `in code: { reports: { reports, folder } }`. */
  readonly needs: string;
  readonly handler?: (Handler & { close?: () => void }) | undefined;
  readonly consumers?: readonly Member[] | undefined;
  /** What is declared of it, where it runs. */
  readonly schedules?: readonly Schedule[] | undefined;
}

/** A family of stock jobs. `Settings` has a field a job: its options. */
export interface Family<Settings> {
  /** `MAIL` for MILLRACE_MAIL_...: such a name that is not known is a typing error. src/env.ts leaves these to us. */
  readonly prefix: string;
  /** Every variable, with how its value is written. */
  readonly variables: Readonly<Record<string, z.ZodType>>;
  /** The settings that the values describe, beside those of the platform; what is missing or wrong goes into `faults`. */
  settings(values: Values, faults: Fault[], platform: PlatformOptions): Settings;
  /** What of the settings no log may show. */
  secretsOf?(settings: Settings): string[];
  /** @throws MillraceError OPTIONS_INVALID */
  parts(settings: Settings): readonly StockPart[];
}

/** Words in a variable's name that keep its value out of messages. */
export const SECRET_NAME = /^SMTP_URL$|SECRET|KEY|PASSWORD|TOKEN/;

/** The options of one job, tried by making its handler; undefined where nothing of it is set. */
export function optionsOf<Options>(
  variables: Variables,
  values: Values,
  create: (options: Options) => unknown,
  faults: Fault[],
): Options | undefined {
  const entries = Object.entries(variables).map(([option, name]) => [option, values[name]] as const);
  const options = Object.fromEntries(entries.filter(([, value]) => value !== undefined)) as Options;
  if (Object.keys(options as object).length === 0) return undefined;
  const found: Fault[] = [];
  orFaults(() => create(options), 'OPTIONS_INVALID', found);
  for (const { path, reason } of found) {
    const option = path.split(/[.[]/, 1)[0] ?? '';
    const isMissing = !Object.hasOwn(options as object, option);
    faults.push({
      path: variables[option] ?? option,
      reason: isMissing ? 'expected it beside the others of its job, got none' : reason,
    });
  }
  return options;
}

/** What is read, or its faults. */
export function orFaults<T>(read: () => T, code: 'ENV_INVALID' | 'OPTIONS_INVALID', faults: Fault[]): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!isMillraceError(error, code)) throw error;
    faults.push(...(error.facts['faults'] as Fault[]));
    return undefined;
  }
}
