import { handle } from 'millrace';
import { greetUserJob } from './greet-user.contract.js';

/** Runs in a worker. Delivery is at least once: what must not be done twice goes into once(). */
export const greetUserHandler = handle(greetUserJob, async ({ name }, { log, once, signal }) => {
  signal.throwIfAborted();
  const greeting = await once('greet', () => `Hello, ${name}!`);
  log.info({ name }, 'greeted');
  return { greeting };
});
