/** What contracts call secret is not printed unless it is asked for. */
import { contractSecrets, maskSecrets, type Platform } from '../index.ts';
import type { Flag, Words } from './command.ts';

/** The flag that asks for it. */
export const SECRETS_FLAG: Readonly<Record<string, Flag>> = { secrets: 'Prints what contracts call secret, too.' };

/** How inputs are printed: as they are with `--secrets`, else without what workers and apps have told to be secret. */
export async function inputMask(
  platform: Platform,
  flags: Words['flags'],
): Promise<(contract: string, input: unknown) => unknown> {
  if (flags['secrets'] === true) return (_contract, input) => input;
  const secrets = await contractSecrets(platform);
  return (contract, input) => maskSecrets(input, secrets.get(contract) ?? []);
}
