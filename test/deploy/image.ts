/**
 * Does what the Dockerfile says, in folders in the place of images: for machines without an engine.
 *
 * Every instruction is carried out as it stands there, in its order; one that is not known here is an error. A path of the image is one below
 * the folder of its stage. What runs the programs has neither a right to write there nor the environment of the tests.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chmodSync, chownSync, cpSync, existsSync, mkdirSync } from 'node:fs';
import { basename, isAbsolute, join } from 'node:path';
import { expect } from 'vitest';
import { ROOT, textOf } from './files.ts';

/** One line of a Dockerfile, continued ones put together. */
interface Instruction {
  name: string;
  rest: string;
}

/** A stage that is built. */
interface Stage {
  folder: string;
  workdir: string;
  env: Record<string, string>;
  user: number;
  command: string[];
  healthcheck: string[];
}

/** What is in the place of an instruction, for a short form; undefined where the instruction is carried out. */
export type InPlace = (instruction: Instruction, to: (path: string) => string) => (() => void) | undefined;

/** The instructions of each stage, by its name; the last one has none. */
function stagesIn(dockerfile: string): Map<string, Instruction[]> {
  const stages = new Map<string, Instruction[]>();
  let current: Instruction[] = [];
  for (const line of dockerfile
    .replaceAll(/^#.*\n/gm, '')
    .replaceAll(/\\\n\s*/g, '')
    .split('\n')) {
    const [, name = '', rest = ''] = /^([A-Z]+) (.+)$/.exec(line) ?? [];
    if (name === 'FROM') {
      const [, stage = ''] = /^node:\d+-slim(?: AS (\w+))?$/.exec(rest) ?? expect.fail(`another base: ${rest}`);
      stages.set(stage, (current = []));
    } else if (name !== '') current.push({ name, rest });
    else expect(line).toBe('');
  }
  return stages;
}

/** Builds all stages below a folder. @returns the last one */
export function buildImage(below: string, inPlace: InPlace = () => undefined): Stage {
  const stages = new Map<string, Stage>();
  let last: Stage | undefined;
  for (const [name, instructions] of stagesIn(textOf('Dockerfile'))) {
    const folder = join(below, name === '' ? 'image' : name);
    const stage: Stage = { folder, workdir: '/', env: {}, user: 0, command: [], healthcheck: [] };
    mkdirSync(join(folder, 'tmp'), { recursive: true });
    for (const instruction of instructions) {
      const instead = inPlace(instruction, (path) => pathIn(stage, path));
      if (instead) instead();
      else carryOut(instruction, stage, stages);
    }
    stages.set(name, stage);
    last = stage;
  }
  return last ?? expect.fail('there is no stage');
}

function pathIn({ folder, workdir }: Stage, path: string): string {
  return join(folder, isAbsolute(path) ? '' : workdir, path);
}

function carryOut({ name, rest }: Instruction, stage: Stage, stages: ReadonlyMap<string, Stage>): void {
  switch (name) {
    case 'WORKDIR':
      stage.workdir = rest;
      mkdirSync(pathIn(stage, '.'), { recursive: true });
      break;
    case 'ENV':
      for (const pair of rest.split(' ')) {
        const [key = '', value = ''] = pair.split('=');
        stage.env[key] = value.startsWith('/') ? pathIn(stage, value) : value;
      }
      break;
    case 'COPY':
      copy(rest, stage, stages);
      break;
    case 'RUN':
      runIn(rest, stage);
      break;
    case 'USER':
      stage.user = Number(rest);
      break;
    case 'CMD':
      stage.command = JSON.parse(rest) as string[];
      break;
    case 'HEALTHCHECK':
      stage.healthcheck = JSON.parse(rest.replace(/^.*? CMD /, '')) as string[];
      break;
    case 'EXPOSE':
      expect(rest).toBe(stage.env['PORT']);
      break;
    default:
      expect.fail(`what is ${name}?`);
  }
}

const ignored = textOf('.dockerignore').split('\n');

/** `COPY [--from=STAGE] SOURCE... TARGET`; a folder's content goes into the target, as Docker has it. */
function copy(rest: string, stage: Stage, stages: ReadonlyMap<string, Stage>): void {
  const [, from, paths = ''] = /^(?:--from=(\w+) )?(.+)$/.exec(rest) ?? [];
  const words = paths.split(' ');
  const target = pathIn(stage, words.at(-1) ?? '');
  for (const source of words.slice(0, -1)) {
    const origin = from === undefined ? undefined : (stages.get(from) ?? expect.fail(`no stage ${from}`));
    if (!origin) expect(ignored, 'what is ignored is not there to be copied').not.toContain(source.split('/')[0]);
    const file = origin ? pathIn(origin, source) : join(ROOT, source);
    expect(existsSync(file), source).toBe(true);
    const to = words.at(-1)?.endsWith('/') ? join(target, basename(source)) : target;
    cpSync(file, to, { recursive: true, verbatimSymlinks: true });
  }
}

/** In a shell, as Docker runs it; the user node of the image is the one of `USER`. */
function runIn(command: string, stage: Stage): void {
  const here = command
    .replaceAll(/(?<=\s)\/data\b/g, pathIn(stage, '/data'))
    .replaceAll('node:node', process.getuid?.() === 0 ? '1000:1000' : `${process.getuid?.()}:${process.getgid?.()}`);
  const { status, stderr, stdout } = spawnSync('sh', ['-c', here], {
    cwd: pathIn(stage, '.'),
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...stage.env },
    encoding: 'utf8',
  });
  expect(status, `${command}\n${stdout}\n${stderr}`).toBe(0);
}

/** Takes every right to write away, but to /tmp and to what belongs to the user. */
export function makeReadOnly({ folder, user }: Stage): void {
  const { status } = spawnSync(
    'find',
    ['.', '-path', './data', '-prune', '-o', '!', '-type', 'l', '-exec', 'chmod', 'a-w', '{}', '+'],
    { cwd: folder },
  );
  expect(status).toBe(0);
  chmodSync(join(folder, 'tmp'), 0o700);
  if (process.getuid?.() === 0) chownSync(join(folder, 'tmp'), user, user);
}

/** Starts a command of the image as its user; with none, its own. */
export function startInImage(stage: Stage, command: readonly string[], env: Record<string, string>): ChildProcess {
  const [program = '', ...args] = command;
  return spawn(program === 'node' ? process.execPath : program, args, {
    cwd: pathIn(stage, '.'),
    env: { ...stage.env, TMPDIR: join(stage.folder, 'tmp'), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(process.getuid?.() === 0 && { uid: stage.user, gid: stage.user }),
  });
}
