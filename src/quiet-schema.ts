/**
 * A schema that does not tell what is secret.
 *
 * Some libraries quote a value that they refuse ("expected an email, got hunter2"). Such a text goes to whoever enqueued or published, to logs,
 * and into a dead letter. So the reason given for a secret part tells the type of what came and nothing else; its path stays.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { Schema } from './schema.ts';
import { after, stepsOf, type Step } from './secrets.ts';

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
  let isSecret = false;
  for (const segment of issue.path ?? []) {
    const key = typeof segment === 'object' ? segment.key : segment;
    steps = after(steps, String(key));
    isSecret ||= steps.some((step) => step.isSecret);
    value = (value as Record<PropertyKey, unknown> | null | undefined)?.[key];
  }
  // What stands where an object with secrets was expected may be one of them.
  const isAbove = steps.length > 0 && typeof value !== 'object' && value !== undefined;
  return isSecret || isAbove ? { ...issue, message: quietReason(value) } : issue;
}

function quietReason(value: unknown): string {
  if (value === undefined) return 'refused by its schema: nothing came';
  return `refused by its schema: ${kindOf(value)} came, which is a secret`;
}

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
