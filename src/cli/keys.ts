/** `millrace keys ...`: makes, lists and revokes the keys of the producer API. */
import { createApiKeys, type ApiKey } from '../http/index.ts';
import { isMillraceError, type Fault } from '../index.ts';
import { CommandError, UsageError, type Command } from './command.ts';
import { confirm, YES_FLAG } from './confirm.ts';
import { ago, at, note, say, sayList } from './output.ts';
import { durationOf, JSON_FLAG, listOf } from './read-flags.ts';
import type { Column } from './table.ts';
import { withPlatform } from './with-platform.ts';

const COLUMNS: ReadonlyArray<Column<ApiKey>> = [
  { title: 'ID', of: ({ id }) => id },
  { title: 'NAME', of: ({ name }) => name, cutTo: 12 },
  { title: 'SCOPES', of: ({ scopes }) => scopes.join(','), cutTo: 12 },
  { title: 'MADE', of: ({ createdAt }) => at(createdAt) },
  { title: 'ENDS', of: ({ expiresAt }) => (expiresAt === undefined ? 'never' : at(expiresAt)) },
  { title: 'USED AGO', of: ({ lastUsedAt }) => ago(lastUsedAt), align: 'right' },
];

/** The commands on API keys. */
export const keys: Readonly<Record<string, Command>> = {
  'keys create': {
    summary: 'Makes a key for the producer API, and shows it once.',
    words: ['NAME'],
    flags: {
      scopes: {
        value: 'A,B',
        summary: 'ACT:CONTRACT, such as enqueue:email.*,read:email.*; acts are enqueue, read, cancel, *.',
      },
      expires: { value: 'DURATION', summary: 'How long it is good for, such as 90d. Default: until it is revoked.' },
      ...JSON_FLAG,
    },
    exitCodes: { 0: 'made', 1: 'not made', 2: 'wrong words' },
    run: async ({ given: { NAME: name = '' }, flags }) => {
      const scopes = listOf('scopes', flags);
      if (!scopes) throw new UsageError("expected --scopes, such as --scopes 'enqueue:email.*'");
      const expiresIn = durationOf('expires', flags);
      return withPlatform(async (platform) => {
        const { token, key } = await createApiKeys(platform).create({ name, scopes, expiresIn }).catch(worded);
        say(flags['json'], { token, ...key }, () => [token]);
        note(`Key ${key.id}. It is not shown again: only its hash is kept.`);
        return 0;
      });
    },
  },
  'keys list': {
    summary: 'Lists the keys of the producer API, the newest first.',
    flags: JSON_FLAG,
    exitCodes: { 0: 'listed', 1: 'failed', 2: 'wrong words' },
    run: ({ flags }) =>
      withPlatform(async (platform) =>
        sayList(flags['json'], await createApiKeys(platform).list(), { columns: COLUMNS, none: 'no API keys' }),
      ),
  },
  'keys revoke': {
    summary: 'Ends a key of the producer API for good, in every process within a second.',
    words: ['ID'],
    flags: { ...JSON_FLAG, ...YES_FLAG },
    exitCodes: {
      0: 'revoked',
      1: 'there is no such key, or you said no',
      2: 'wrong words, or there was nobody to ask',
    },
    run: ({ given: { ID: id = '' }, flags }) =>
      withPlatform(async (platform) => {
        const all = createApiKeys(platform);
        const key = (await all.list()).find((one) => one.id === id);
        if (!key) throw new CommandError(`there is no key ${id}; npx millrace keys list`);
        if (!(await confirm(`Revoke the key ${id} of ${key.name} for good?`, flags))) return 1;
        await all.revoke(id);
        return say(flags['json'], { id, revoked: true }, () => ['revoked']);
      }),
  },
};

/** A fault of an option is one of the words here. @throws what it is given */
function worded(error: unknown): never {
  if (!isMillraceError(error, 'OPTIONS_INVALID')) throw error;
  const faults = error.facts['faults'] as readonly Fault[];
  const said = faults.map(
    ({ path, reason }) => `${path === 'name' ? 'NAME' : `--${path.replace(/\[.*/, '')}`}: ${reason}`,
  );
  throw new UsageError(said.join('; '), { cause: error });
}
