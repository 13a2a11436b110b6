import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFakeJobs, runHandler } from 'millrace/testing';
import { greetUserJob } from './greet-user.contract.js';
import { greetUserHandler } from './greet-user.handler.js';

void test('greet.user greets', async () => {
  const { outcome, result } = await runHandler(greetUserHandler, { name: 'Ada' });
  assert.equal(outcome, 'completed');
  assert.deepEqual(result, { greeting: 'Hello, Ada!' });
});

void test('greet.user takes no input without a name', async () => {
  const jobs = createFakeJobs();
  await assert.rejects(jobs.enqueue(greetUserJob, { name: '' }), { code: 'INPUT_INVALID' });
});
