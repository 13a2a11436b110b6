/**
 * The contracts that pages work with: those that the embedding app has named, which bring their own schemas, and those that workers have told
 * Redis, which bring JSON Schemas.
 */
import { z } from 'zod';
import {
  contractSecrets,
  defineJob,
  isMillraceError,
  type ContractInfo,
  type JobContract,
  type Schema,
} from 'millrace';
import type { Desk } from '../desk.ts';

/** A JSON Schema. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** A contract in a list. */
export type ListedContract = Pick<ContractInfo, 'name' | 'version' | 'queue' | 'attempts'>;

/** A contract, and how its inputs can be checked. */
export interface KnownContract extends Omit<ContractInfo, 'seenAt' | 'inputSchema'> {
  readonly inputSchema: JsonSchema | undefined;
  /** For an enqueue: the app's own, or one that was made of what a worker has told. */
  readonly contract: JobContract;
  /** Whether inputs are checked at all. */
  readonly isChecked: boolean;
}

/** What is secret in inputs. */
export interface KnownSecrets {
  /** Paths of what is secret in inputs of the contract, in any version. */
  secretsOf(this: void, name: string): readonly string[];
  /** The same, by name. */
  readonly secrets: Readonly<Record<string, readonly string[]>>;
}

/** The contracts of all processes. */
export interface ContractList extends KnownSecrets {
  /** By name, the newest version first. */
  readonly all: readonly ListedContract[];
  /**
   * The newest version, or the one that is asked for; of several of one name the one of the queue, if there is one. What was told and makes no
   * contract is as if nobody had told it.
   */
  named(name: string, which?: { version?: number | undefined; queue?: string | undefined }): KnownContract | undefined;
}

/** Asks Redis for no more than the secrets: what a list needs. @throws MillraceError when it cannot be asked */
export async function listSecrets({
  platform,
  contracts,
}: Pick<Desk, 'platform' | 'contracts'>): Promise<KnownSecrets> {
  const told = await contractSecrets(platform);
  const secrets = Object.assign(Object.create(null), Object.fromEntries(told)) as Record<string, readonly string[]>;
  for (const { name, secrets: paths } of contracts)
    if (paths.length > 0) secrets[name] = [...new Set([...(secrets[name] ?? []), ...paths])];
  return { secrets, secretsOf: (name) => secrets[name] ?? [] };
}

/** Asks Redis. @throws MillraceError when it cannot be asked */
export async function listContracts(desk: Pick<Desk, 'platform' | 'contracts'>): Promise<ContractList> {
  const { platform, contracts } = desk;
  const [told, secrets] = await Promise.all([platform.jobs.contracts(), listSecrets(desk)]);
  const isOwn = ({ name, version, queue }: ContractInfo): boolean =>
    contracts.some((one) => one.name === name && one.version === version && one.queue === queue);
  // A schema is made and read for the contract that is used, and for no other.
  const all = [
    ...contracts.map((contract) => ({ facts: factsOf(contract), make: () => ownContract(contract) })),
    ...told.filter((info) => !isOwn(info)).map((info) => ({ facts: factsOf(info), make: () => toldContract(info) })),
  ].toSorted(({ facts: one }, { facts: other }) => one.name.localeCompare(other.name) || other.version - one.version);
  return {
    ...secrets,
    all: all.map(({ facts }) => facts),
    named(name, { version, queue } = {}) {
      const meant = all.filter(
        ({ facts }) => facts.name === name && (version === undefined || facts.version === version),
      );
      return (meant.find(({ facts }) => facts.queue === queue) ?? meant[0])?.make();
    },
  };
}

function factsOf({ name, version, queue, attempts }: ListedContract): ListedContract {
  return { name, version, queue, attempts };
}

function ownContract(contract: JobContract): KnownContract {
  const { name, queue, version, attempts, secrets, timeoutMs, expiresInMs, priority } = contract;
  return {
    name,
    queue,
    version,
    attempts,
    secrets,
    ...(timeoutMs !== undefined && { timeoutMs }),
    ...(expiresInMs !== undefined && { expiresInMs }),
    ...(priority !== undefined && { priority }),
    inputSchema: jsonSchemaOf(contract.input),
    contract,
    isChecked: true,
  };
}

function toldContract({ seenAt: _seenAt, inputSchema, ...info }: ContractInfo): KnownContract | undefined {
  const schema = inputSchema && schemaOf(inputSchema);
  const { name, queue, version, attempts, secrets, timeoutMs, expiresInMs, priority } = info;
  try {
    const contract = defineJob({
      name,
      queue,
      version,
      attempts,
      secrets,
      timeout: timeoutMs ?? false,
      expiresIn: expiresInMs,
      priority,
      input: schema ?? z.unknown(),
    });
    return { ...info, inputSchema, contract, isChecked: schema !== undefined };
  } catch (error) {
    if (isMillraceError(error, 'OPTIONS_INVALID')) return undefined;
    throw error;
  }
}

/** What zod cannot read of it is not checked here; the worker checks the input again. */
function schemaOf(inputSchema: JsonSchema): z.ZodType | undefined {
  try {
    return z.fromJSONSchema(inputSchema);
  } catch {
    return undefined;
  }
}

/** What schema libraries have beside the check, if they can. */
interface MakesJsonSchema {
  jsonSchema?: { input(options: object): JsonSchema };
}

/** Likewise of a contract whose library makes no JSON Schema. */
function jsonSchemaOf(schema: Schema): JsonSchema | undefined {
  const standard = schema['~standard'] as Schema['~standard'] & MakesJsonSchema;
  const libraryOptions = standard.vendor === 'zod' ? { libraryOptions: { unrepresentable: 'any' } } : {};
  try {
    return standard.jsonSchema?.input({ target: 'draft-2020-12', ...libraryOptions });
  } catch {
    return undefined;
  }
}
