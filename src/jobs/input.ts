/** What travels of a job: its input. */
import { encodePayload } from '../payload.ts';
import { checkContract, type JobContract } from './contract.ts';

/**
 * The input as it travels, once the contract's schema has agreed to it. A promise only where the schema answers with one.
 *
 * @throws MillraceError INPUT_INVALID with each path and reason; PAYLOAD_TOO_LARGE.
 */
export function encodeInput<Input>(
  contract: JobContract<Input>,
  input: Input,
  maxBytes: number,
): string | Promise<string> {
  checkContract(contract);
  const { name, input: schema } = contract;
  return encodePayload(input, { schema, contract: name, what: `the input of ${name}`, maxBytes });
}
