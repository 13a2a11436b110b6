/**
 * The environment of a stock worker: what the platform reads, and the settings of the stock jobs. Nothing else in workers/ reads process.env.
 *
 * A bad value stops the start; all faults are listed at once, each with its variable, what was expected and what came (of a secret, only that
 * it is wrong). A job of which nothing is set is left out; one of which something is missing is a fault. docs/stock-jobs.md lists the table.
 */
import {
  MillraceError,
  readEnv,
  type Configuration,
  type Fault,
  type LogOptions,
  type PlatformOptions,
} from 'millrace';
import { z } from 'zod';
import { FAMILIES, type StockSettings } from './families.ts';
import { orFaults, SECRET_NAME } from './family.ts';

const SCHEMA = z.object(Object.assign({}, ...FAMILIES.map(({ variables }) => variables)) as z.ZodRawShape).partial();

/**
 * What the environment says of the platform and of the stock jobs.
 *
 * @example
 * const { configuration, settings } = readStockEnv();
 * const platform = createPlatform(configuration.platform);
 * const { handlers } = stockHandlers(settings);
 * @throws MillraceError ENV_INVALID, with every fault.
 */
export function readStockEnv(env: NodeJS.ProcessEnv = process.env): {
  configuration: Configuration;
  settings: StockSettings;
} {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
  const [ours = {}, theirs] = [true, false].map((which) =>
    Object.fromEntries(Object.entries(given).filter(([name]) => isOurs(name) === which)),
  );
  const faults: Fault[] = [];
  const configuration = orFaults(() => readEnv(theirs), 'ENV_INVALID', faults);
  const settings = settingsOf(ours, faults, configuration?.platform ?? {});
  if (!configuration || faults.length > 0) {
    const list = faults.map(({ path, reason }) => (path === '' ? reason : `${path}: ${reason}`)).join('; ');
    throw new MillraceError('ENV_INVALID', `the environment has faults: ${list}`, { faults });
  }
  const { platform } = configuration;
  const secrets = FAMILIES.flatMap((family) => family.secretsOf?.(settings) ?? []);
  const log = { ...platform.log, secrets: [...((platform.log as LogOptions).secrets ?? []), ...secrets] };
  return { configuration: { ...configuration, platform: { ...platform, log } }, settings };
}

function isOurs(name: string): boolean {
  return name in SCHEMA.shape || familyOf(name) !== undefined;
}

function familyOf(name: string): (typeof FAMILIES)[number] | undefined {
  return FAMILIES.find(({ prefix }) => name.startsWith(`MILLRACE_${prefix}_`));
}

function settingsOf(given: NodeJS.ProcessEnv, faults: Fault[], platform: PlatformOptions): StockSettings {
  for (const name of Object.keys(given)) if (!(name in SCHEMA.shape)) faults.push(noSuch(name));
  const checked = SCHEMA.safeParse(given);
  for (const { path, message } of checked.error?.issues ?? []) {
    const name = String(path[0]);
    faults.push({
      path: name,
      reason: SECRET_NAME.test(name) ? message : `${message}, got ${JSON.stringify(given[name])}`,
    });
  }
  if (!checked.success) return {};
  return Object.assign(
    {},
    ...FAMILIES.map((family) => family.settings(checked.data, faults, platform)),
  ) as StockSettings;
}

function noSuch(name: string): Fault {
  const known = Object.keys(familyOf(name)?.variables ?? {});
  return {
    path: name,
    reason: `there is no such variable${known.length === 0 ? '' : `; there are ${known.join(', ')}`}`,
  };
}
