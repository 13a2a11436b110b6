/** `millrace worker FILE...`: a worker process of the user's own handlers, until it is told to stop. */
import express from 'express';
import { createPlatform, readEnv, runWorker, type Handler, type Member, type WorkOptions } from '../index.ts';
import { autoscaleRouter, healthRouter, listen, metricsRouter } from '../http/index.ts';
import { CommandError, UsageError, type Command, type Words } from './command.ts';
import { loadWork, otherCopy, usualFile, type Work } from './load-modules.ts';
import { note } from './output.ts';
import { progressLine } from './progress.ts';
import { countOf, durationOf, listOf } from './read-flags.ts';

export const worker: Command = {
  summary: 'Runs the handlers and consumers that your modules export, with health and metrics on HOST and PORT.',
  words: ['[FILE...]'],
  flags: {
    queues: { value: 'A,B', summary: 'Only the handlers of these queues.' },
    streams: { value: 'A,B', summary: 'Only the consumers of these streams.' },
    concurrency: { value: 'N', summary: 'Jobs that run at once, of each queue. Default 10.' },
    'drain-for': { value: 'DURATION', summary: 'How long a stop may take. Default 25s.' },
  },
  exitCodes: {
    0: 'stopped by Ctrl-C or SIGTERM, and drained',
    1: 'could not load or start, fell silent, or a second signal cut the stop short',
    2: 'wrong words',
  },
  async run({ rest, flags }) {
    const options = optionsOf(flags);
    const found = usualFile();
    const files = rest.length > 0 || found === undefined ? rest : [found];
    if (files.length === 0)
      throw new UsageError(
        'expected FILE, a module that exports handlers: there is no handlers.js or .ts here or in src',
      );
    const work = chosen(await loadWork(files), flags);
    for (const file of files) warnOfCopy(file);
    // A handler that ignores its signal goes on after its job was handed back; it must not keep the process.
    process.exit(await runBeside({ ...options, ...work }));
  },
};

function optionsOf(flags: Words['flags']): Pick<WorkOptions, 'concurrency' | 'drainFor'> {
  const concurrency = countOf('concurrency', flags);
  return { concurrency, drainFor: durationOf('drain-for', flags) };
}

/** With `--queues` or `--streams` no more than they name. @throws CommandError for a name that no handler or consumer has */
function chosen(work: Work, flags: Words['flags']): Pick<WorkOptions, 'handlers' | 'consumers' | 'schedules'> {
  const queues = listOf('queues', flags);
  const streams = listOf('streams', flags);
  const all = queues === undefined && streams === undefined;
  const handlers = all
    ? work.handlers
    : pick(work.handlers, queues, 'queue', ({ contract }: Handler) => contract.queue);
  const consumers = all ? work.consumers : pick(work.consumers, streams, 'stream', ({ name }: Member) => name);
  // An empty list of schedules would remove those that others have declared.
  return { handlers, consumers, ...(work.schedules.length > 0 && { schedules: work.schedules }) };
}

function pick<Item>(
  items: readonly Item[],
  names: readonly string[] | undefined,
  what: string,
  nameOf: (item: Item) => string,
): Item[] {
  const known = [...new Set(items.map(nameOf))];
  const strange = names?.find((name) => !known.includes(name));
  if (strange !== undefined) {
    const there = known.length === 0 ? 'there are none' : `they are of ${known.join(', ')}`;
    throw new CommandError(`--${what}s: nothing that was loaded is of ${what} ${strange}; ${there}`);
  }
  return items.filter((item) => names?.includes(nameOf(item)) === true);
}

function warnOfCopy(file: string): void {
  const copy = otherCopy(file);
  if (copy !== undefined)
    note(`millrace worker: ${file} imports another copy of millrace, ${copy}; run that one with npx`);
}

async function runBeside(work: WorkOptions): Promise<number> {
  const { platform: options, http } = readEnv();
  const progress = progressLine();
  const platform = createPlatform({ ...options, onProgress: progress.show });
  // Before the platform, so that probes are answered while it starts, and a taken port is known at once.
  const app = express().disable('x-powered-by');
  app.use(healthRouter(platform), metricsRouter(platform.metrics), autoscaleRouter(platform));
  const listener = await listen(app, http);
  try {
    const running = runWorker(platform, work);
    // Told when SIGTERM is heard already: whoever reads it may send one.
    console.log([...linesOf(work), `Health     ${listener.url}/livez and ${listener.url}/readyz`].join('\n'));
    console.log(`Metrics    ${listener.url}/metrics\nStop: Ctrl-C`);
    return await running;
  } finally {
    progress.clear();
    await listener.close();
  }
}

/** What it will run: a line a queue and a consumer. */
function linesOf({ handlers = [], consumers = [], schedules = [] }: WorkOptions): string[] {
  const queues = new Map<string, string[]>();
  for (const { contract } of handlers)
    queues.set(contract.queue, [...(queues.get(contract.queue) ?? []), contract.name]);
  return [
    ...[...queues].map(([queue, names]) => `Queue      ${queue}: ${names.join(', ')}`),
    ...consumers.map(
      (member) => `Stream     ${member.name}: ${'group' in member ? String(member.group) : member.kind}`,
    ),
    ...schedules.map(({ id, contract }) => `Schedule   ${id}: ${contract.name}`),
  ];
}
