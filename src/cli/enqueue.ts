/** `millrace enqueue NAME JSON`: adds a job by its name. */
import { isMillraceError, type EnqueueOptions } from '../index.ts';
import { CommandError, UsageError, type Command, type Words } from './command.ts';
import { jsonOf } from './output.ts';
import { contractNamed, countOf, durationOf, textOf } from './read-flags.ts';
import { hello } from './sample.ts';
import { toldContract } from './told-contract.ts';
import { withPlatform } from './with-platform.ts';

export const enqueue: Command = {
  summary: 'Adds a job: npx millrace enqueue sample.hello \'{"name":"Ada"}\'',
  words: ['NAME', 'JSON'],
  flags: {
    queue: { value: 'QUEUE', summary: 'The queue. Default: that of the contract, or the name up to its first dot.' },
    delay: { value: 'DURATION', summary: 'Runs it no sooner than so long from now, such as 30s.' },
    key: { value: 'KEY', summary: 'An idempotency key: the same key adds one job only.' },
    attempts: { value: 'N', summary: 'How often it is tried. Default: what the contract says, or 5.' },
    wait: 'Waits for the end of the job (30s), and prints what it returned.',
    json: 'Prints the answer as JSON.',
  },
  exitCodes: { 0: 'added, or there already', 1: 'not added, or failed', 2: 'wrong words' },
  async run(words) {
    const { NAME: name = '', JSON: text = '' } = words.given;
    const input = parseJson(text);
    const queue = textOf('queue', words.flags);
    contractNamed(name, queue); // Refuses a name that none can have.
    const options = optionsOf(words);
    return withPlatform(async (platform) => {
      const { jobs } = platform;
      const isSample = name === hello.name && queue === undefined;
      const contract = isSample ? hello : await toldContract(platform, name, queue);
      if (words.flags['wait'] === true) {
        console.log(jsonOf(await jobs.enqueueAndWait(contract, input, options).catch(hinted)));
        return 0;
      }
      const answer = await jobs.enqueue(contract, input, options);
      if (words.flags['json'] === true) console.log(jsonOf(answer));
      else console.log(`${answer.status} ${answer.id}\nnpx millrace jobs show ${answer.id}`);
      return 0;
    });
  },
};

/** @throws what it is given, with what comes next where the job goes on */
function hinted(error: unknown): never {
  if (!isMillraceError(error, 'WAIT_TIMEOUT')) throw error;
  throw new CommandError(`${error.message}; npx millrace jobs wait ${String(error.facts['jobId'])}`, { cause: error });
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
