/** What an API key may do: acts on contracts, such as `enqueue:email.*`. */
import { z } from 'zod';

/** What can be done with the jobs of a contract. */
export const ACTS = ['enqueue', 'read', 'cancel'] as const;
export type Act = (typeof ACTS)[number];

/** A star stands at the end only: what it takes in can be read at a glance, and is found without trying. */
const SCOPE = /^(?:enqueue|read|cancel|\*):(?:\*|[a-zA-Z][\w.-]*\*?)$/;
const MOST_SCOPES = 100;

/** Option of a key. */
export const scopesOption: z.ZodType<readonly string[]> = z
  .array(
    z
      .string()
      .max(120)
      .regex(SCOPE, {
        error: `expected an act and a contract such as enqueue:email.send, read:email.* or *:*; acts are ${ACTS.join(', ')}`,
      }),
  )
  .min(1)
  .max(MOST_SCOPES)
  .transform((scopes) => [...new Set(scopes)]);

/**
 * Whether one of the scopes allows the act on the contract.
 *
 * @example
 * isAllowed(['read:email.*'], 'read', 'email.send'); // true
 */
export function isAllowed(scopes: readonly string[], act: Act, contract: string): boolean {
  return scopes.some((scope) => {
    const [acts = '', names = ''] = scope.split(':', 2);
    if (acts !== '*' && acts !== act) return false;
    return names.endsWith('*') ? contract.startsWith(names.slice(0, -1)) : contract === names;
  });
}

/** What the scopes allow on the contract. */
export function actsOn(scopes: readonly string[], contract: string): Act[] {
  return ACTS.filter((act) => isAllowed(scopes, act, contract));
}
