/**
 * A process that runs one program after another. A process of its own costs each of them a second of a processor before its first line; the
 * proof that a program ends by itself is that it leaves nothing open.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, inject } from 'vitest';
import { eventually } from './eventually.ts';

/** What is to run. */
export interface Program {
  /** Compiled. */
  file: string;
  args: readonly string[];
  cwd: string;
  env: NodeJS.ProcessEnv;
}

/** How it ended, and what it wrote. */
export interface Ran {
  code: number | NodeJS.Signals;
  out: string;
  err: string;
}

/** A host for the tests of a file; what it is given runs in turn. A program that ends its process gets the host to start anew. */
export function ownedHost(): (program: Program) => Promise<Ran> {
  let host: Host | undefined;
  let last: Promise<unknown> = Promise.resolve();
  beforeAll(() => {
    host = new Host();
  });
  afterAll(() => host?.stop());
  return (program) => {
    const ran = last.then(() => (host as Host).run(program));
    last = ran.catch(() => undefined);
    return ran;
  };
}

class Host {
  #child = this.#start();
  #ended: number | NodeJS.Signals | undefined;
  #out = '';
  #err = '';

  #start(): ChildProcess {
    const script = join(inject('compiled'), 'test', 'support', 'host-process.js');
    const child = spawn(process.execPath, [script], { stdio: ['pipe', 'pipe', 'pipe'] });
    child.stdin.on('error', () => undefined); // It has ended itself, which its end tells.
    child.stdout.setEncoding('utf8').on('data', (text: string) => (this.#out += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#err += text));
    child.once('close', (code, signal) => (this.#ended = code ?? signal ?? -1));
    return child;
  }

  async run(program: Program): Promise<Ran> {
    [this.#out, this.#err] = ['', ''];
    this.#child.stdin?.write(`${JSON.stringify(program)}\n`);
    return eventually(() => {
      if (this.#ended !== undefined) {
        const ran = { code: this.#ended, out: this.#out, err: this.#err };
        this.#ended = undefined;
        this.#child = this.#start();
        return ran;
      }
      const [out, code] = this.#out.split('\0');
      const [err, isOver] = this.#err.split('\0');
      if (code === undefined || isOver === undefined)
        throw new Error(`${program.file} ${program.args.join(' ')} does not end:\n${this.#out}\n${this.#err}`);
      return { code: Number(code), out: out ?? '', err: err ?? '' };
    }, 80_000);
  }

  async stop(): Promise<void> {
    if (this.#ended !== undefined) return;
    const closed = once(this.#child, 'close');
    this.#child.kill('SIGKILL');
    await closed;
  }
}
