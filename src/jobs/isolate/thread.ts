/** The thread of isolated handlers: takes one job at a time, loads its handler, runs it, and tells what came of it. */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { MillraceError } from '../../errors.ts';
import type { Handler } from '../handler.ts';
import { parseWith } from '../../payload.ts';
import { carryError } from './carried-error.ts';
import { withoutClasses } from './carried-value.ts';
import type { FromThread, RunMessage, ThreadData, ToThread } from './messages.ts';
import { boundaryError, ThreadJob } from './thread-job.ts';
import { makeTypeScriptLoadable } from './typescript.js';

const port = parentPort;
const { flag } = workerData as ThreadData;
let current: ThreadJob | undefined;

port?.on('message', receive);

function receive(message: ToThread): void {
  if (message.type === 'run') void runJob(message);
  else if (message.run === current?.run) current.receive(message);
}

function post(message: FromThread): void {
  port?.postMessage(message);
}

/** The flag makes it cheap enough for a loop: most of the time nothing has come. */
function poll(): void {
  if (!port || Atomics.load(flag, 0) === 0) return;
  Atomics.store(flag, 0, 0);
  for (let next = receiveMessageOnPort(port); next; next = receiveMessageOnPort(port)) {
    receive(next.message as ToThread);
  }
}

async function runJob(request: RunMessage): Promise<void> {
  const { run, data } = request;
  const job = new ThreadJob(request, { post, poll });
  current = job;
  let handler: Handler | undefined;
  try {
    handler = await loadHandler(request);
    const { contract } = handler;
    const input = await parseWith(contract.input, data, `the input of ${contract.name}`);
    post({ type: 'began', run });
    const value = await handler.run(input, job.context);
    job.end();
    postResult(request, value);
  } catch (thrown) {
    job.end();
    // A module that failed to load is not loaded again by the same thread.
    post({ type: 'threw', run, error: carryError(thrown), isSpoiled: handler === undefined });
  }
}

function postResult({ run, contract }: RunMessage, value: unknown): void {
  try {
    post({ type: 'returned', run, value: withoutClasses(value) });
  } catch (cause) {
    const error = boundaryError(
      `the result of ${contract.name} cannot cross from its thread; return plain data`,
      cause,
    );
    post({ type: 'threw', run, error, isSpoiled: false });
  }
}

async function loadHandler({ url, contract }: RunMessage): Promise<Handler> {
  const facts = { contract: contract.name, url };
  const handler = await importHandler(url, facts);
  const found = handler.contract;
  const differs = (['name', 'queue', 'version'] as const).find((fact) => found[fact] !== contract[fact]);
  if (differs === undefined) return handler;
  throw new MillraceError(
    'HANDLER_MISSING',
    `isolate: the default export of ${url} handles ${differs} ${found[differs]}, expected ${contract[differs]}`,
    facts,
  );
}

async function importHandler(url: string, facts: Record<string, unknown>): Promise<Handler> {
  let module: { default?: unknown };
  try {
    await makeTypeScriptLoadable(url);
    module = (await import(url)) as { default?: unknown };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new MillraceError(
      'HANDLER_MISSING',
      `isolate: ${url} cannot be loaded in a thread: ${reason}${mend(cause)}`,
      {
        ...facts,
        cause,
      },
    );
  }
  // A module that was compiled to CommonJS has its exports below `default`.
  for (const exported of [module.default, (module.default as { default?: unknown } | undefined)?.default]) {
    if (isHandler(exported)) return exported;
  }
  throw new MillraceError(
    'HANDLER_MISSING',
    `isolate: the default export of ${url} is no handler of handle(); export the handler of ${String(facts['contract'])} as default`,
    facts,
  );
}

function mend(cause: unknown): string {
  const isTypeScript = (cause as { code?: unknown } | null)?.code === 'ERR_UNKNOWN_FILE_EXTENSION';
  return isTypeScript ? '; install tsx beside it, or run compiled JavaScript' : '';
}

function isHandler(value: unknown): value is Handler {
  return typeof value === 'object' && value !== null && 'contract' in value && 'run' in value;
}
