// The handler without Redis and without a worker: npm test
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runHandler } from 'millrace/testing';
import { confirmOrderHandler } from './handlers.js';

void test('an order is confirmed with a receipt', async () => {
  const { outcome, result } = await runHandler(confirmOrderHandler, { order: '4711', cents: 1990 });
  assert.deepEqual([outcome, result], ['completed', { receipt: 'receipt of 4711' }]);
});

void test('an order with nothing to pay is not tried again', async () => {
  const { reason } = await runHandler(confirmOrderHandler, { order: '4712', cents: 0 });
  assert.equal(reason, 'unrecoverable');
});
