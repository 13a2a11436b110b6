/**
 * `npm run bench -- TOPIC [--quick] [--json] [--case NAME]...`: runs the cases of one topic, or those named, and prints a ratio for each.
 *
 * Ours and the other side run interleaved in one process; the ratio of the medians is what may be quoted, the absolute figures
 * are this machine's at this moment.
 */
import { readdirSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { measure, type Case, type Result } from './support/measure.ts';
import { missingPeers } from './support/peers.ts';
import { pinBench } from './support/server.ts';

interface Topic {
  prepare(): Promise<{ cases: Case[]; close: () => Promise<void> }>;
}

const topics = readdirSync(new URL('.', import.meta.url))
  .filter((file) => file.endsWith('.ts') && file !== 'run.ts')
  .map((file) => file.slice(0, -'.ts'.length));

process.exitCode = await main();

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      case: { type: 'string', multiple: true },
    },
  });
  const [topic] = positionals;
  if (topic === undefined || !topics.includes(topic)) {
    console.error(`Usage: npm run bench -- TOPIC [--quick] [--json] [--case NAME]...\nTopics: ${topics.join(', ')}`);
    return 2;
  }
  pinBench();
  const prepared = await ((await import(`./${topic}.ts`)) as Topic).prepare();
  const missing = missingPeers();
  if (missing !== undefined) console.error(missing);
  try {
    const unknown = values.case?.find((name) => !prepared.cases.some((item) => item.name === name));
    if (unknown !== undefined) {
      const names = prepared.cases.map(({ name }) => name).join(', ');
      console.error(`${topic} has no case ${unknown}. It has: ${names}`);
      return 2;
    }
    const asked = prepared.cases.filter(({ name }) => values.case?.includes(name) ?? true);
    for (const item of asked) {
      const result = await measure(topic, item, values.quick);
      console.log(values.json ? JSON.stringify(result) : lineOf(result, item.theirsIs));
    }
  } finally {
    await prepared.close();
  }
  return 0;
}

function lineOf({ case: name, ratio, ours, theirs, unit }: Result, theirsIs: string): string {
  const start = `${name.padEnd(28)} ${ratio === null ? '-' : `x${ratio}`}   ours ${ours} ${unit}, ${theirsIs}`;
  return `${start}: ${theirs ?? 'not installed'}`;
}
