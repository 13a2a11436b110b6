/**
 * Loads a user's own modules, and finds in them what a worker runs: what handle(), consume() and consumeBatch(), project() and subscribeTo(), and
 * schedule() return, exported by name or as default, alone or in arrays. Whatever else is exported is left alone.
 */
import { existsSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';
import type { Handler, Member, Schedule } from '../index.ts';
import { CommandError } from './command.ts';

/** What was found in the files. */
export interface Work {
  handlers: Handler[];
  consumers: Member[];
  schedules: Schedule[];
}

const TYPESCRIPT = /\.[cm]?tsx?$/;

/** Loads the files, in their order. @throws CommandError naming the file, and what is wrong with it */
export async function loadWork(files: readonly string[], folder: string = process.cwd()): Promise<Work> {
  const work: Work = { handlers: [], consumers: [], schedules: [] };
  /** Where each thing was found first; one that is exported twice, or from two files, is one. */
  const places = new Map<unknown, string>();
  for (const file of files) {
    const before = places.size;
    const exported = await load(file, folder);
    for (const [name, value] of Object.entries(exported)) collect(value, `${name} of ${file}`, work, places);
    if (places.size === before && !hasWork(exported)) {
      throw new CommandError(
        `${file} exports nothing that a worker runs; export what handle() or consume() returns, by name or as default`,
      );
    }
  }
  checkTwice(work.handlers, places);
  return work;
}

/** What a user's module exports, TypeScript too. @throws CommandError naming the file, and what is wrong with it */
export async function load(file: string, folder: string = process.cwd()): Promise<Record<string, unknown>> {
  const path = resolve(folder, file);
  if (!existsSync(path)) throw new CommandError(`there is no file ${file}`);
  if (!statSync(path).isFile())
    throw new CommandError(`${file} is a folder; name the files in it, such as ${file}/*.js`);
  if (TYPESCRIPT.test(path)) await makeTypeScriptLoadable(path, file);
  try {
    return (await import(pathToFileURL(path).href)) as Record<string, unknown>;
  } catch (error) {
    // The stack is of the user's code, and says where.
    const what = error instanceof Error ? (error.stack ?? String(error)) : inspect(error);
    // Node keeps the place of what it cannot parse to itself.
    const hint = error instanceof SyntaxError && !TYPESCRIPT.test(path) ? `\n\nnode --check ${file} shows where.` : '';
    throw new CommandError(`${file} cannot be loaded:\n${what}${hint}`, { cause: error });
  }
}

/** With the tsx of the user's project, which reads his tsconfig.json; without one, as Node can, from version 22.18 on. */
async function makeTypeScriptLoadable(path: string, file: string): Promise<void> {
  if (import.meta.url.endsWith('.ts')) return; // In a checkout tsx runs this very file.
  const api = findTsx(path);
  if (api !== undefined) {
    const { register } = (await import(api)) as { register: () => unknown };
    register();
    return;
  }
  const { typescript = false } = process.features as { typescript?: string | false };
  if (typescript !== false) return;
  throw new CommandError(
    `${file} is TypeScript, which Node ${process.versions.node} cannot load; npm install --save-dev tsx, or compile it and name the JavaScript`,
  );
}

function findTsx(path: string): string | undefined {
  try {
    // What require() is given lacks what registers the hooks; the file for import stands beside it.
    const file = createRequire(path)
      .resolve('tsx/esm/api')
      .replace(/\.cjs$/, '.mjs');
    return existsSync(file) ? pathToFileURL(file).href : undefined;
  } catch {
    return undefined; // It is not installed there.
  }
}

function collect(value: unknown, place: string, work: Work, places: Map<unknown, string>): void {
  if (Array.isArray(value)) {
    for (const item of value as unknown[]) collect(item, place, work, places);
    return;
  }
  if (places.has(value) || !isWork(value)) return;
  places.set(value, place);
  if (isHandler(value)) work.handlers.push(value);
  else if (isMember(value)) work.consumers.push(value);
  else work.schedules.push(value);
}

function hasWork(exported: Record<string, unknown>): boolean {
  return Object.values(exported).some((value) => (Array.isArray(value) ? value.some(isWork) : isWork(value)));
}

function isWork(value: unknown): value is Handler | Member | Schedule {
  return isHandler(value) || isMember(value) || isSchedule(value);
}

type Facts = Partial<Record<string, unknown>> | null;

function isHandler(value: unknown): value is Handler {
  const facts = value as Facts;
  return isContract(facts?.['contract']) && typeof facts?.['run'] === 'function';
}

function isMember(value: unknown): value is Member {
  const facts = value as Facts;
  return (
    typeof facts?.['kind'] === 'string' && typeof facts['name'] === 'string' && typeof facts['start'] === 'function'
  );
}

function isSchedule(value: unknown): value is Schedule {
  const facts = value as Facts;
  return isContract(facts?.['contract']) && typeof facts?.['timing'] === 'object' && typeof facts['id'] === 'string';
}

function isContract(value: unknown): boolean {
  const facts = value as Facts | undefined;
  return typeof facts?.['name'] === 'string' && typeof facts['queue'] === 'string';
}

function checkTwice(handlers: readonly Handler[], places: ReadonlyMap<unknown, string>): void {
  const byContract = new Map<string, Handler>();
  for (const handler of handlers) {
    const { name, queue } = handler.contract;
    const first = byContract.get(`${queue} ${name}`);
    if (first) {
      throw new CommandError(
        `two handlers of ${name}: ${places.get(first)}, and ${places.get(handler)}; a worker runs one of them`,
      );
    }
    byContract.set(`${queue} ${name}`, handler);
  }
}

/** Files that are taken when none is named, the first that is there. */
const USUAL = ['handlers', 'src/handlers'].flatMap((name) => ['js', 'mjs', 'ts', 'mts'].map((end) => `${name}.${end}`));

/** The file of handlers of a folder, where people put it; undefined when it is elsewhere. */
export function usualFile(folder: string = process.cwd()): string | undefined {
  return USUAL.find((file) => existsSync(resolve(folder, file)));
}

/** The package that the user's code imports as `millrace`, when it is another copy than this command's: errors of one are strangers to the other. */
export function otherCopy(file: string, own: string = import.meta.url): string | undefined {
  try {
    const theirs = createRequire(resolve(file)).resolve('millrace/package.json');
    const ours = createRequire(own).resolve('../../package.json');
    return theirs === ours ? undefined : relative(process.cwd(), theirs);
  } catch {
    return undefined; // It is imported under another name, or not at all.
  }
}
