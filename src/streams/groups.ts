/** The consumer groups of a stream: which there are, making one, removing one. Those that other tools made are groups like any other. */
import { z } from 'zod';
import { createBatch } from '../redis/batch.ts';
import type { RedisClient } from '../redis/clients.ts';
import type { Connections } from '../redis/connect.ts';
import { explainRedisError } from '../redis/explain.ts';
import { checkOptions } from '../schema.ts';
import { streamNameOption, type StreamContract } from './contract.ts';
import { fieldsOf } from './entry.ts';
import type { StreamKeys } from './keys.ts';
import { lagOf, lookOf, readLag, type GroupLag } from './lag.ts';
import { lookAtGroup, removeGroupScript } from './scripts.ts';

/** One group of a stream. */
export interface GroupInfo {
  readonly name: string;
  /** Whether the contract names it, so that nothing is trimmed before it is there. */
  readonly isDeclared: boolean;
  /** What it has still to do; undefined when the group is declared and nobody has made it yet. */
  readonly lag: GroupLag | undefined;
}

/** Options of createGroup(). */
export interface CreateGroupOptions {
  /** Where it begins: `0` at what the stream has now, `$` at what comes from now on, or behind the entry of an id. Default `0`. */
  startAt?: string | undefined;
}

/** Options of removeGroup(). */
export interface RemoveGroupOptions {
  /** Removes it though it has something to finish, which it then never will. Default false. */
  force?: boolean | undefined;
}

/** What became of removeGroup(), and what the group had to finish then. */
export interface RemovedGroup {
  /** `kept`: it has something to finish, or consumers that work. `absent`: there is no such group. */
  readonly status: 'removed' | 'kept' | 'absent';
  /** Entries that it had not read. */
  readonly unread: number;
  readonly pending: number;
  readonly deadLetters: number;
  /** Its consumers that hold their lease: they would make it again. */
  readonly consumers: number;
}

/** Where a group may begin. */
export const startAtOption: z.ZodType<string> = z
  .string()
  .regex(/^(?:\$|\d{1,20}(?:-\d{1,20})?)$/, "expected '0', '$' or the id of an entry");

/** The name of a group, also of one that another tool made. */
const anyGroupOption = z.string().min(1).max(512);

const createSchema = z.strictObject({ startAt: startAtOption.default('0') });
const removeSchema = z.strictObject({ force: z.boolean().default(false) });

/** @throws MillraceError OPTIONS_INVALID */
export function checkGroup(group: unknown, owner: string): string {
  return checkOptions(z.strictObject({ group: anyGroupOption }), { group }, owner).group;
}

type Redis = Pick<Connections, 'commands' | 'label'>;

/** All groups of a stream, the declared ones first. @throws what Redis met */
export async function listGroups(redis: Redis, keys: StreamKeys, contract: StreamContract): Promise<GroupInfo[]> {
  const names = [...new Set([...contract.groups, ...(await groupNames(redis, keys))])];
  const lags = await readLags(redis.commands(), keys, names);
  return names.map((name, index) => ({ name, isDeclared: contract.groups.includes(name), lag: lags[index] }));
}

/** The lag of each group, in one round trip; undefined of one that is not there. */
async function readLags(
  client: RedisClient,
  keys: StreamKeys,
  names: readonly string[],
): Promise<Array<GroupLag | undefined>> {
  const batch = createBatch(client);
  const looks = names.map((name) => batch.run(lookAtGroup, ...lookOf(keys, name)));
  await batch.send();
  return (await Promise.all(looks)).map(({ facts }) => facts && lagOf(facts));
}

/** The names of the groups; none when there is no stream yet. @throws what Redis met */
export async function groupNames(redis: Redis, keys: StreamKeys): Promise<string[]> {
  try {
    const groups = (await redis.commands().xinfo('GROUPS', keys.entries)) as string[][];
    return groups.map((flat) => fieldsOf(flat).get('name') ?? '');
  } catch (error) {
    if (error instanceof Error && error.message.includes('no such key')) return [];
    throw explainRedisError(error, redis.label);
  }
}

/** Makes the group, and the stream if there is none. @throws MillraceError OPTIONS_INVALID, or what Redis met */
export async function createGroup(
  redis: Redis,
  keys: StreamKeys,
  contract: StreamContract,
  group: string,
  options: CreateGroupOptions,
): Promise<{ status: 'created' | 'exists' }> {
  const owner = `createGroup of ${contract.name}`;
  const { startAt } = checkOptions(createSchema, options, owner);
  checkOptions(z.strictObject({ group: streamNameOption }), { group }, owner);
  try {
    await redis.commands().xgroup('CREATE', keys.entries, group, startAt, 'MKSTREAM');
    return { status: 'created' };
  } catch (error) {
    if (error instanceof Error && error.message.startsWith('BUSYGROUP')) return { status: 'exists' };
    throw explainRedisError(error, redis.label);
  }
}

/** Removes the group and all that is kept for it. @throws MillraceError OPTIONS_INVALID, or what Redis met */
export async function removeGroup(
  redis: Redis,
  keys: StreamKeys,
  contract: StreamContract,
  group: string,
  options: RemoveGroupOptions,
): Promise<RemovedGroup> {
  const owner = `removeGroup of ${contract.name}`;
  const { force } = checkOptions(removeSchema, options, owner);
  checkGroup(group, owner);
  const client = redis.commands();
  const before = force ? await readLag(client, keys, group) : undefined;
  const names = { entries: keys.entries, ...keys.group(group) };
  const status = await removeGroupScript(client, names, { group, force: force ? 1 : 0 });
  const lag = status === 'kept' ? await readLag(client, keys, group) : before;
  return {
    status,
    unread: lag?.entries ?? 0,
    pending: lag?.pending ?? 0,
    deadLetters: lag?.deadLetters ?? 0,
    consumers: lag?.consumers.filter(({ isAlive }) => isAlive).length ?? 0,
  };
}
