/**
 * A schema that does not tell what is secret.
 *
 * Some libraries quote a value that they refuse ("expected an email, got hunter2"). Such a text goes to whoever enqueued, to logs, and into
 * a dead letter. So the reason given for a secret part says only that it was refused; its path stays.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { Schema } from '../schema.ts';
import { after, stepsOf, type Step } from './secrets.ts';

const QUIET = 'refused by its schema; what came is a secret';

/** The schema itself where nothing is secret. */
export function withQuietFaults(schema: Schema, secrets: readonly string[]): Schema {
  if (secrets.length === 0) return schema;
  const root = stepsOf(secrets);
  const inner = schema['~standard'];
  const quiet = (result: StandardSchemaV1.Result<unknown>, value: unknown): StandardSchemaV1.Result<unknown> =>
    result.issues ? { issues: result.issues.map((issue) => quietIssue(issue, root, value)) } : result;
  const validate: typeof inner.validate = (value, options) => {
    const result = inner.validate(value, options);
    return 'then' in result ? result.then((settled) => quiet(settled, value)) : quiet(result, value);
  };
  const standard = Object.create(inner, { validate: { value: validate, enumerable: true } }) as typeof inner;
  return Object.freeze({ '~standard': standard });
}

function quietIssue(issue: StandardSchemaV1.Issue, root: Step, input: unknown): StandardSchemaV1.Issue {
  let steps: readonly Step[] = [root];
  let value = input;
  for (const segment of issue.path ?? []) {
    const key = typeof segment === 'object' ? segment.key : segment;
    steps = after(steps, String(key));
    if (steps.some(({ isSecret }) => isSecret)) return { ...issue, message: QUIET };
    value = (value as Record<PropertyKey, unknown> | null | undefined)?.[key];
  }
  // What stands where an object with secrets was expected may be one of them.
  const isAbove = steps.length > 0 && typeof value !== 'object' && value !== undefined;
  return isAbove ? { ...issue, message: QUIET } : issue;
}
