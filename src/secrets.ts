/**
 * The secret parts of what travels: what a contract calls secret is shown as `[secret]`, wherever an input is shown.
 *
 * A path is steps with dots between them; `*` stands for any one step, be it a key or a place in a list. All below a secret is secret.
 */
import { z } from 'zod';

/** What stands in the place of a secret. */
export const SECRET_MARK = '[secret]';

const PATH = /^[^.\s]+(?:\.[^.\s]+)*$/;
/** A star is a whole step or none of it. */
const HALF_STAR = /[^.]\*|\*[^.]/;
const MOST_PATHS = 100;

/** Option of a contract: paths of what is secret. */
export const secretsOption: z.ZodType<readonly string[], readonly string[] | undefined> = z
  .array(
    z
      .string()
      .max(200)
      .refine((path) => PATH.test(path) && !HALF_STAR.test(path), {
        error:
          "expected a path such as card.number, tokens.* or items.*.password: steps with single dots between them, '*' for any one step",
      }),
  )
  .max(MOST_PATHS)
  .default([])
  .transform((paths) => Object.freeze([...new Set(paths)]));

/** Steps that lead to secrets. */
export interface Step {
  /** What is here is secret. */
  isSecret: boolean;
  readonly next: Map<string, Step>;
}

const ANY = '*';

/**
 * The value with `[secret]` in the place of each secret. The value itself is left as it is; what holds no secret is shared with it.
 *
 * @example
 * maskSecrets({ user: 'ann', card: { number: '4111', owner: 'Ann' } }, ['card.number']);
 * // { user: 'ann', card: { number: '[secret]', owner: 'Ann' } }
 */
export function maskSecrets(value: unknown, secrets: readonly string[]): unknown {
  return secrets.length === 0 ? value : masked(value, [stepsOf(secrets)]);
}

function masked(value: unknown, steps: readonly Step[]): unknown {
  if (steps.some(({ isSecret }) => isSecret)) return SECRET_MARK;
  if (steps.length === 0 || typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((item: unknown, index) => masked(item, after(steps, String(index))));
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, masked(inner, after(steps, key))]));
}

/** The steps that the paths begin with. */
export function stepsOf(secrets: readonly string[]): Step {
  const root: Step = { isSecret: false, next: new Map() };
  for (const path of secrets) {
    let at = root;
    for (const name of path.split('.')) {
      const step = at.next.get(name) ?? { isSecret: false, next: new Map<string, Step>() };
      at.next.set(name, step);
      at = step;
    }
    at.isSecret = true;
  }
  return root;
}

/** Where the paths have come to after one more step. */
export function after(steps: readonly Step[], key: string): Step[] {
  return steps.flatMap(({ next }) =>
    [next.get(ANY), key === ANY ? undefined : next.get(key)].filter((step) => step !== undefined),
  );
}
