/**
 * Lua scripts, bound to names.
 *
 * A file's `local name = KEYS[n]` and `ARGV[n]` lines are its signature. defineScript() is given the same names, so that
 * a misspelt one is a compile error at the call, and a file that was changed alone is an error when the program starts.
 *
 * Calls go out as EVALSHA. A server that does not know the script (restarted, failed over, SCRIPT FLUSH) says NOSCRIPT and
 * has run nothing; the call is then sent once more with the text. Keys that do not share a hash tag are refused before
 * anything is sent, on a single server too, so that a move to a Cluster finds no surprise.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Cluster, Redis } from 'ioredis';
import { describeValue, MillraceError } from '../errors.ts';
import { explainRedisError } from './explain.ts';
import { hashTagOf } from './keys.ts';

/** The clients that can run a script. */
export type ScriptClient = Redis | Cluster;

/** What may be passed as an argument; numbers must be finite. */
export type ScriptValue = string | number | Buffer;

/** Names to values; a name that starts with `...` takes a list and stands last. */
type Named<Names extends readonly string[], Value> = {
  readonly [Name in Names[number] as Name extends `...${infer Rest}` ? Rest : Name]: Name extends `...${string}`
    ? readonly Value[]
    : Value;
};

export interface ScriptDefinition<Keys extends readonly string[], Args extends readonly string[], Raw, Reply> {
  /** The Lua file, below `lua/`. */
  file: string;
  /** The names of KEYS, in order, in camelCase. The last one may be `...name` for a list, of some 7 000 at most: Lua unpacks no more. */
  keys: Keys;
  /** The names of ARGV, likewise. */
  args: Args;
  /** Makes the reply of what the server sent. */
  reply: (raw: Raw) => Reply;
  /** Strings arrive as Buffers. Default false. */
  binary?: boolean;
  /** Where the file is, for scripts that are not in this package's `lua/`. */
  folder?: URL;
}

/** A script, ready to be called. */
export interface Script<Keys extends readonly string[], Args extends readonly string[], Reply> {
  (client: ScriptClient, keys: Named<Keys, string>, args: Named<Args, ScriptValue>): Promise<Reply>;
  readonly file: string;
  readonly sha: string;
  /** What a batch needs to put the call among others. */
  readonly prepare: (keys: Named<Keys, string>, args: Named<Args, ScriptValue>) => PreparedCall<Reply>;
}

/** A call that is checked and laid out but not sent. */
export interface PreparedCall<Reply> {
  file: string;
  source: string;
  /** The SHA1, the number of keys, the keys, the arguments. */
  argv: ScriptValue[];
  binary: boolean;
  reply: (raw: never) => Reply;
}

const LUA_FOLDER = new URL('../../lua/', import.meta.url);

/**
 * Binds a Lua file to names. Reads and checks the file at once.
 *
 * @example
 * const takeTokens = defineScript({
 *   file: 'rate-limit/take-tokens.lua',
 *   keys: ['bucket'],
 *   args: ['capacity', 'refillPerSecond', 'cost'],
 *   reply: ([granted, left]: [number, number]) => ({ granted: granted === 1, left }),
 * });
 * await takeTokens(redis, { bucket }, { capacity: 10, refillPerSecond: 2, cost: 1 });
 * @throws MillraceError SCRIPT_INVALID when the file is missing or its names differ.
 */
export function defineScript<const Keys extends readonly string[], const Args extends readonly string[], Raw, Reply>(
  definition: ScriptDefinition<Keys, Args, Raw, Reply>,
): Script<Keys, Args, Reply> {
  const { file, binary = false } = definition;
  const source = readSource(definition.folder ?? LUA_FOLDER, file);
  checkSignature(file, source, definition.keys, definition.args);
  const sha = createHash('sha1').update(source).digest('hex');
  const reply = definition.reply as (raw: never) => Reply;
  const keyNames = definition.keys.map(parameterOf);
  const argNames = definition.args.map(parameterOf);

  const layOut = (keys: Named<Keys, string>, args: Named<Args, ScriptValue>): ScriptValue[] => {
    const argv: ScriptValue[] = [sha, 0];
    append(argv, keyNames, keys, checkKey, file);
    const keyCount = argv.length - 2;
    argv[1] = keyCount;
    if (keyCount > 1) checkSlots(file, argv, keyCount);
    append(argv, argNames, args, checkValue, file);
    return argv;
  };

  const call = async (
    client: ScriptClient,
    keys: Named<Keys, string>,
    args: Named<Args, ScriptValue>,
  ): Promise<Reply> => {
    const argv = layOut(keys, args);
    try {
      return reply((await send(client, 'evalsha', argv, binary)) as never);
    } catch (error) {
      if (!isNoScript(error)) throw explainScriptError(error, file, client);
    }
    try {
      return reply((await send(client, 'eval', [source, ...argv.slice(1)], binary)) as never);
    } catch (error) {
      throw explainScriptError(error, file, client);
    }
  };
  const prepare = (keys: Named<Keys, string>, args: Named<Args, ScriptValue>): PreparedCall<Reply> => {
    return { file, source, argv: layOut(keys, args), binary, reply };
  };
  return Object.assign(call, { file, sha, prepare });
}

/** The same call, carrying the script's text in the place of its SHA1. */
export function withSource<Reply>(prepared: PreparedCall<Reply>): PreparedCall<Reply> {
  return { ...prepared, argv: [prepared.source, ...prepared.argv.slice(1)] };
}

/** Whether the server said that it does not know the script, so that nothing ran. */
export function isNoScript(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('NOSCRIPT');
}

/** The error of a script's call: what the connection met, or what the script said. */
export function explainScriptError(error: unknown, file: string, client: ScriptClient): MillraceError {
  const explained = explainRedisError(error, clientLabel(client));
  if (explained.code !== 'REDIS_FAILED') return explained;
  const said = error instanceof Error ? error.message : String(error);
  return new MillraceError('SCRIPT_FAILED', `lua/${file}: ${said}`, { file, cause: explained.cause });
}

function send(
  client: ScriptClient,
  command: 'evalsha' | 'eval',
  argv: readonly ScriptValue[],
  binary: boolean,
): Promise<unknown> {
  if (binary) return client.callBuffer(command, ...argv);
  const all = argv as [string, number, ...ScriptValue[]];
  return command === 'evalsha' ? client.evalsha(...all) : client.eval(...all);
}

type Check = (value: unknown, name: string, file: string) => ScriptValue;

/** A name of the signature: whether it takes one value or, with `...` before it, a list. */
interface Parameter {
  name: string;
  isList: boolean;
}

function parameterOf(name: string): Parameter {
  return name.startsWith('...') ? { name: name.slice(3), isList: true } : { name, isList: false };
}

function append(
  argv: ScriptValue[],
  parameters: readonly Parameter[],
  values: object,
  check: Check,
  file: string,
): void {
  for (const { name, isList } of parameters) {
    const value = (values as Record<string, unknown>)[name];
    if (!isList) argv.push(check(value, name, file));
    else if (Array.isArray(value)) for (const item of value) argv.push(check(item, name, file));
    else throw invalidValue(file, name, 'a list', value);
  }
}

function checkKey(value: unknown, name: string, file: string): string {
  if (typeof value === 'string' && value !== '') return value;
  throw invalidValue(file, name, 'a key (a string that is not empty)', value);
}

function checkValue(value: unknown, name: string, file: string): ScriptValue {
  if (typeof value === 'string' || (typeof value === 'number' && Number.isFinite(value)) || Buffer.isBuffer(value))
    return value;
  throw invalidValue(file, name, 'a string, a finite number or a Buffer', value);
}

function invalidValue(file: string, name: string, expected: string, value: unknown): MillraceError {
  const message = `lua/${file}: ${name}: expected ${expected}, got ${describeValue(value)}`;
  return new MillraceError('SCRIPT_INVALID', message, { file, argument: name });
}

function checkSlots(file: string, argv: readonly ScriptValue[], keyCount: number): void {
  const first = hashTagOf(argv[2] as string);
  for (let index = 3; index < 2 + keyCount; index++) {
    if (hashTagOf(argv[index] as string) === first) continue;
    const keys = argv.slice(2, 2 + keyCount);
    throw new MillraceError(
      'SCRIPT_SLOTS_DIFFER',
      `lua/${file}: the keys of one call must share a {tag}, got ${keys.join(', ')}`,
      { file, keys },
    );
  }
}

function readSource(folder: URL, file: string): string {
  try {
    return readFileSync(new URL(file, folder), 'utf8');
  } catch (cause) {
    throw new MillraceError('SCRIPT_INVALID', `lua/${file}: cannot be read`, { file, cause });
  }
}

const SIGNATURE_LINE =
  /^local +(\w+) *= *(?:(?:tonumber\()?(KEYS|ARGV)\[(\d+)\]\)?|\{ *unpack\((KEYS|ARGV), *(\d+)\) *\}) *(?:--.*)?$/gm;

function checkSignature(file: string, source: string, keys: readonly string[], args: readonly string[]): void {
  const found = { KEYS: [] as string[], ARGV: [] as string[] };
  const rest = source.replace(
    SIGNATURE_LINE,
    (_line, name: string, table?: string, at?: string, listTable?: string, from?: string) => {
      const list = found[(table ?? listTable) as 'KEYS' | 'ARGV'];
      const position = Number(at ?? from);
      if (position !== list.length + 1) {
        throw new MillraceError(
          'SCRIPT_INVALID',
          `lua/${file}: ${name} is out of order: expected position ${list.length + 1}, got ${position}`,
          { file },
        );
      }
      if (list.at(-1)?.startsWith('...')) {
        throw new MillraceError('SCRIPT_INVALID', `lua/${file}: ${name} comes after a list; a list stands last`, {
          file,
        });
      }
      list.push(listTable ? `...${camelCase(name)}` : camelCase(name));
      return '';
    },
  );
  if (/\b(KEYS|ARGV)\b/.test(rest.replace(/--.*$/gm, ''))) {
    throw new MillraceError(
      'SCRIPT_INVALID',
      `lua/${file}: KEYS and ARGV may stand in the local lines of its signature only`,
      { file },
    );
  }
  compare(file, 'KEYS', keys, found.KEYS);
  compare(file, 'ARGV', args, found.ARGV);
}

function compare(file: string, table: string, expected: readonly string[], found: readonly string[]): void {
  if (expected.join() === found.join()) return;
  const message = `lua/${file}: its ${table} are (${found.join(', ')}), defineScript names (${expected.join(', ')})`;
  throw new MillraceError('SCRIPT_INVALID', message, { file, expected, found });
}

function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_match, letter: string) => letter.toUpperCase());
}

/** What messages call the server behind a client. */
export function clientLabel(client: ScriptClient): string {
  if (client.isCluster) return 'the Cluster';
  const { path, host, port, sentinels, name } = (client as Redis).options;
  if (sentinels) return `the master ${name}`;
  return path ?? `${host}:${port}`;
}
