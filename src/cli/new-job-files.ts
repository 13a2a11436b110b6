/** The files that a new job begins with. */

/** A file, and what stands in it. */
export interface NewFile {
  file: string;
  text: string;
}

/** Contract, handler and test, in this order. */
export function filesOfJob(name: string): NewFile[] {
  const words = name
    .replaceAll(/([a-z\d])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^a-z\d]+/)
    .filter((word) => word !== '');
  const file = words.join('-');
  // With a word behind it that no keyword has.
  const base = words.map((word, at) => (at === 0 ? word : word.charAt(0).toUpperCase() + word.slice(1))).join('');
  const [contract, handler] = [`${base}Job`, `${base}Handler`];
  return [
    { file: `${file}.contract.ts`, text: contractText(name, contract) },
    { file: `${file}.handler.ts`, text: handlerText(file, contract, handler) },
    { file: `${file}.test.ts`, text: testText(name, file, contract, handler) },
  ];
}

function contractText(name: string, contract: string): string {
  return `import { defineJob } from 'millrace';
import { z } from 'zod';

/** What apps import to enqueue it: await platform.jobs.enqueue(${contract}, { name: 'Ada' }); */
export const ${contract} = defineJob({
  name: '${name}',
  input: z.object({ name: z.string().min(1) }),
  output: z.object({ greeting: z.string() }),
  attempts: 5,
  timeout: '30s',
});
`;
}

function handlerText(file: string, contract: string, handler: string): string {
  return `import { handle } from 'millrace';
import { ${contract} } from './${file}.contract.js';

/** Runs in a worker. Delivery is at least once: what must not be done twice goes into once(). */
export const ${handler} = handle(${contract}, async ({ name }, { log, once, signal }) => {
  signal.throwIfAborted();
  const greeting = await once('greet', () => \`Hello, \${name}!\`);
  log.info({ name }, 'greeted');
  return { greeting };
});
`;
}

function testText(name: string, file: string, contract: string, handler: string): string {
  return `import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFakeJobs, runHandler } from 'millrace/testing';
import { ${contract} } from './${file}.contract.js';
import { ${handler} } from './${file}.handler.js';

void test('${name} greets', async () => {
  const { outcome, result } = await runHandler(${handler}, { name: 'Ada' });
  assert.equal(outcome, 'completed');
  assert.deepEqual(result, { greeting: 'Hello, Ada!' });
});

void test('${name} takes no input without a name', async () => {
  const jobs = createFakeJobs();
  await assert.rejects(jobs.enqueue(${contract}, { name: '' }), { code: 'INPUT_INVALID' });
});
`;
}
