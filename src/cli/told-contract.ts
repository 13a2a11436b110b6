/**
 * The contract of a job that is added by its name: no code of the application is loaded here, so it is made of what its workers, or its apps,
 * have told of it. Its newest version counts. What cannot be told is not known: unique keys, which are code.
 */
import { z } from 'zod';
import {
  defineJob,
  isMillraceError,
  type ContractInfo,
  type JobContract,
  type Platform,
  type Schema,
} from '../index.ts';
import { didYouMean } from './did-you-mean.ts';
import { note } from './output.ts';
import { contractNamed } from './read-flags.ts';

/** The contract, with what is known of it. Of one that nobody has told, that is said, and what was meant. */
export async function toldContract({ jobs }: Platform, name: string, queue: string | undefined): Promise<JobContract> {
  const all = await jobs.contracts();
  const versions = all.filter((one) => one.name === name && (queue === undefined || one.queue === queue));
  const [newest] = versions.toSorted((one, other) => other.version - one.version);
  const contract = newest && contractOf(newest);
  if (contract) return contract;
  if (all.length > 0) {
    const where = queue === undefined ? '' : ` in the queue ${queue}`;
    const hint = didYouMean(
      name,
      all.map((one) => one.name),
    );
    note(`No worker has told of a contract ${name}${where}${hint || '.'} The job waits for one that has it.`);
  }
  return contractNamed(name, queue);
}

/** Undefined for what was told and makes no contract, as of another version of Millrace. */
function contractOf(told: ContractInfo): JobContract | undefined {
  const { name, queue, version, attempts, secrets, timeoutMs, expiresInMs, priority, inputSchema } = told;
  const input = (inputSchema && schemaOf(inputSchema)) ?? z.unknown();
  const timeout = timeoutMs ?? false;
  try {
    return defineJob({ name, queue, version, attempts, secrets, timeout, expiresIn: expiresInMs, priority, input });
  } catch (error) {
    if (isMillraceError(error, 'OPTIONS_INVALID')) return undefined;
    throw error;
  }
}

/** What zod cannot read of it is not checked here; the worker checks the input again. */
function schemaOf(inputSchema: NonNullable<ContractInfo['inputSchema']>): Schema | undefined {
  try {
    return z.fromJSONSchema(inputSchema);
  } catch {
    return undefined;
  }
}
