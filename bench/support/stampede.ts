/** Two processes of one side that ask for the same key at the same moment. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { compiledFolder } from './compiled.ts';

/** The sides that can be asked. */
export type StampedeSide = 'ours' | 'bento';

const PROGRAM = fileURLToPath(new URL('stampede-process.ts', import.meta.url));
const PROCESSES = 2;

/** Processes that stay for all rounds, so that only the stampede is in them. */
export class Stampede {
  readonly #children: ChildProcess[];

  private constructor(children: ChildProcess[]) {
    this.#children = children;
  }

  /** Resolves when all are connected. */
  static async start(side: StampedeSide, url: string): Promise<Stampede> {
    const built = await compiledFolder();
    const children = Array.from({ length: PROCESSES }, () => fork(PROGRAM, [side, url, built]));
    await Promise.all(children.map(answer));
    return new Stampede(children);
  }

  /** The loads that the key cost in all processes together. */
  async loadsOf(key: string): Promise<number> {
    const answers = this.#children.map(answer);
    for (const child of this.#children) child.send({ key });
    return (await Promise.all(answers)).reduce((sum, loads) => sum + loads, 0);
  }

  async stop(): Promise<void> {
    const running = this.#children.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null);
    const exits = running.map((child) => once(child, 'exit'));
    for (const child of running) child.disconnect();
    await Promise.all(exits);
  }
}

/** The number that the child sends next. @throws when it ends instead. */
async function answer(child: ChildProcess): Promise<number> {
  const waiting = new AbortController();
  const { signal } = waiting;
  try {
    return await Promise.race([
      once(child, 'message', { signal }).then(([loads]) => Number(loads)),
      once(child, 'exit', { signal }).then(([code]) => {
        throw new Error(`a process of the stampede ended with ${String(code)}`);
      }),
    ]);
  } finally {
    waiting.abort();
  }
}
