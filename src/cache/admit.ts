/** A value from Redis on its way to callers: checked against the schema, kept in memory for what is left of its time. */
import type { Schema } from '../schema.ts';
import type { Ask } from './ask.ts';
import type { CacheCore, Moment } from './cache-core.ts';
import type { Kept } from './first-level.ts';
import type { Found } from './second-level.ts';

/** The value that was found; undefined when it does not fit the schema, which makes it a miss. */
export async function admit(
  core: CacheCore,
  { state, key, call: { plan, schema } }: Pick<Ask, 'state' | 'key' | 'call'>,
  found: Found,
  { since, sentAtMs }: Moment,
): Promise<Kept | undefined> {
  const stored = found.value;
  if (!stored) return undefined;
  let value = stored.payload;
  if (schema && !stored.isNegative) {
    const result = await check(schema, value);
    if ('issues' in result) {
      core.counts.misfits++;
      return undefined;
    }
    ({ value } = result);
  }
  // What is left is counted from before the question was sent, so that nothing stays longer here than there.
  const facts = {
    key,
    value,
    sizeBytes: stored.sizeBytes,
    tags: found.tags,
    freshUntilMs: sentAtMs + found.freshMs,
    staleUntilMs: sentAtMs + found.staleMs,
    deltaMs: found.deltaMs,
    beta: plan.beta,
    id: found.id,
  };
  return core.keep(state, facts, since, { mayShelve: plan.firstLevel, isStored: true });
}

type Checked =
  | { value: unknown }
  | { issues: NonNullable<Awaited<ReturnType<Schema['~standard']['validate']>>['issues']> };

/** What the schema makes of the value. */
export async function check(schema: Schema, value: unknown): Promise<Checked> {
  const result = await schema['~standard'].validate(value);
  return result.issues ? { issues: result.issues } : { value: result.value };
}
