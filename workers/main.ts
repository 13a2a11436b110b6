/**
 * The process for containers: the stock jobs that its environment configures.
 *
 *   node dist/workers/main.js                                              of the package
 *   node --conditions=millrace-source --import tsx workers/main.ts         in a checkout
 *
 * Exit codes: 0 when it was told to stop and has drained, 1 when it could not start, went silent, or was told twice.
 */
import { isMillraceError } from 'millrace';
import { runStockWorker } from './run-stock-worker.ts';

try {
  process.exit(await runStockWorker());
} catch (error) {
  // The message of a MillraceError is written for people; anything else is a fault of ours, so its stack is wanted.
  console.error(isMillraceError(error) ? `millrace: ${error.message} [${error.code}]` : error);
  process.exit(1);
}
