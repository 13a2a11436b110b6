// An app that has work for the worker: node order.js 4711 1990
import { createPlatform, readEnv } from 'millrace';
import { confirmOrder } from './contracts.js';

const [order = '4711', cents = '1990'] = process.argv.slice(2);
const platform = createPlatform(readEnv().platform);
await platform.start();
try {
  console.log(await platform.jobs.enqueueAndWait(confirmOrder, { order, cents: Number(cents) }));
} finally {
  await platform.stop();
}
