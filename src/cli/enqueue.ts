/** `millrace enqueue NAME JSON`: adds a job by its name. */
import type { EnqueueOptions, JobContract } from '../index.ts';
import { UsageError, type Command, type Words } from './command.ts';
import { jsonOf } from './output.ts';
import { contractNamed, countOf, durationOf, textOf } from './read-flags.ts';
import { hello } from './sample.ts';
import { withPlatform } from './with-platform.ts';

export const enqueue: Command = {
  summary: 'Adds a job: npx millrace enqueue sample.hello \'{"name":"Ada"}\'',
  words: ['NAME', 'JSON'],
  flags: {
    queue: { value: 'QUEUE', summary: 'The queue. Default: the name up to its first dot.' },
    delay: { value: 'DURATION', summary: 'Runs it no sooner than so long from now, such as 30s.' },
    key: { value: 'KEY', summary: 'An idempotency key: the same key adds one job only.' },
    attempts: { value: 'N', summary: 'How often it is tried. Default 5, or what the contract says.' },
    wait: 'Waits for the end of the job (30s), and prints what it returned.',
    json: 'Prints the answer as JSON.',
  },
  exitCodes: { 0: 'added, or there already', 1: 'not added, or failed', 2: 'wrong words' },
  async run(words) {
    const { NAME: name = '', JSON: text = '' } = words.given;
    const input = parseJson(text);
    const contract = contractOf(name, textOf('queue', words.flags));
    const options = optionsOf(words);
    return withPlatform(async ({ jobs }) => {
      if (words.flags['wait'] === true) {
        const result = await jobs.enqueueAndWait(contract, input, options);
        console.log(jsonOf(result));
        return 0;
      }
      const answer = await jobs.enqueue(contract, input, options);
      if (words.flags['json'] === true) console.log(jsonOf(answer));
      else console.log(`${answer.status} ${answer.id}\nnpx millrace jobs show ${answer.id}`);
      return 0;
    });
  },
};

/** Contracts of an application are not known here; its worker checks the input. */
function contractOf(name: string, queue: string | undefined): JobContract {
  return name === hello.name && queue === undefined ? hello : contractNamed(name, queue);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new UsageError(`JSON: ${(cause as Error).message}`, { cause });
  }
}

function optionsOf({ flags }: Words): EnqueueOptions {
  return {
    delay: durationOf('delay', flags),
    idempotencyKey: textOf('key', flags),
    attempts: countOf('attempts', flags),
  };
}
