/** What the API tells of a contract, and where contracts come from. */
import { MillraceError } from '../../errors.ts';
import type { JobContract } from '../../jobs/contract.ts';
import { jsonSchemaOf, type JsonSchema } from './json-schema.ts';
import { MOST_IN_BATCH } from './request.ts';
import { actsOn, type Act } from './scopes.ts';

/** A contract as the API tells it. */
export interface ToldContract {
  name: string;
  queue: string;
  version: number;
  /** What the caller may do with its jobs. */
  acts: Act[];
  limits: {
    attempts: number;
    /** Of one attempt. */
    timeoutMs?: number;
    expiresInMs?: number;
    /** Jobs in one request. */
    batch: number;
  };
  priority?: number;
  /** What a second job of one key does, where the contract makes a key of the input. */
  unique?: { onConflict: string; forMs?: number };
  /** JSON Schema; absent where the schema's library makes none. */
  input?: JsonSchema;
  /** Of what the handler returns, where that is said. */
  output?: JsonSchema;
}

/** The contract, for the holder of these scopes. */
export function factsOf(contract: JobContract, scopes: readonly string[]): ToldContract {
  const { name, queue, version, attempts, timeoutMs, expiresInMs, priority, unique } = contract;
  const input = jsonSchemaOf(contract.input);
  const output = jsonSchemaOf(contract.output);
  return {
    name,
    queue,
    version,
    acts: actsOn(scopes, name),
    limits: {
      attempts,
      ...(timeoutMs !== undefined && { timeoutMs }),
      ...(expiresInMs !== undefined && { expiresInMs }),
      batch: MOST_IN_BATCH,
    },
    ...(priority !== undefined && { priority }),
    ...(unique && {
      unique: { onConflict: unique.onConflict, ...(unique.forMs !== undefined && { forMs: unique.forMs }) },
    }),
    ...(input && { input }),
    ...(output && { output }),
  };
}

/**
 * The contracts among the exports of a module, such as your contracts.ts.
 *
 * @example
 * const contracts = contractsIn(await import('./contracts.ts'));
 * @throws MillraceError OPTIONS_INVALID when there are none
 */
export function contractsIn(module: object): JobContract[] {
  const contracts = Object.values(module)
    .flatMap((value: unknown): unknown => value)
    .filter(looksLikeContract);
  if (contracts.length > 0) return [...new Set(contracts)];
  throw new MillraceError(
    'OPTIONS_INVALID',
    'contracts: expected a module that exports what defineJob() gives, got none',
    {},
  );
}

/** By its form: a project may have a copy of this package of its own. */
function looksLikeContract(value: unknown): value is JobContract {
  if (typeof value !== 'object' || value === null) return false;
  const { name, queue, input, retention } = value as Partial<JobContract>;
  return typeof name === 'string' && typeof queue === 'string' && typeof input === 'object' && retention !== undefined;
}
