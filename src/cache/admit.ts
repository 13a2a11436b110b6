/** A value from Redis on its way to callers: checked against the schema, kept in memory for what is left of its time. */
import type { Schema } from '../schema.ts';
import type { Ask } from './ask.ts';
import type { CacheCore, Moment } from './cache-core.ts';
import type { Kept } from './first-level.ts';
import type { Found } from './second-level.ts';

/** The value that was found; undefined when it does not fit the schema, which makes it a miss. */
export async function admit(core: CacheCore, ask: Asked, found: Found, moment: Moment): Promise<Kept | undefined> {
  const fitting = await fit(core, ask.call.schema, found);
  return fitting && keepFound(core, ask, found, { value: fitting.value, moment });
}

/** What the schema makes of the value; undefined when it does not fit, or when there is none. */
export async function fit(
  core: CacheCore,
  schema: Schema | undefined,
  { value: stored }: Found,
): Promise<{ value: unknown } | undefined> {
  if (!stored) return undefined;
  if (!schema || stored.isNegative) return { value: stored.payload };
  const result = await check(schema, stored.payload);
  if (!('issues' in result)) return result;
  core.counts.misfits++;
  return undefined;
}

/** Keeps a value that fits. */
export function keepFound(
  core: CacheCore,
  { state, key, call: { plan, schema } }: Asked,
  found: Found,
  { value, moment: { since, sentAtMs } }: { value: unknown; moment: Moment },
): Kept {
  // What is left is counted from before the question was sent, so that nothing stays longer here than there.
  const facts = {
    key,
    value,
    sizeBytes: found.value?.sizeBytes ?? 0,
    tags: found.tags,
    freshUntilMs: sentAtMs + found.freshMs,
    staleUntilMs: sentAtMs + found.staleMs,
    deltaMs: found.deltaMs,
    beta: plan.beta,
    id: found.id,
    isChecked: schema !== undefined || found.value?.isNegative === true,
  };
  return core.keep(state, facts, since, { mayShelve: plan.firstLevel, isStored: true });
}

/** For which key, and how. */
type Asked = Pick<Ask, 'state' | 'key' | 'call'>;

type Checked =
  | { value: unknown }
  | { issues: NonNullable<Awaited<ReturnType<Schema['~standard']['validate']>>['issues']> };

/** What the schema makes of the value. */
export async function check(schema: Schema, value: unknown): Promise<Checked> {
  const result = await schema['~standard'].validate(value);
  return result.issues ? { issues: result.issues } : { value: result.value };
}
