/**
 * A worker for `email.send` in a process of its own: `mail-process REDIS PREFIX SMTP [die]`. With `die` it kills itself when the mail has gone and
 * its result is stored, before the job is done.
 */
import { createPlatform, handle } from '../../src/index.ts';
import { createEmailHandler } from '../../workers/index.ts';

const [url = '', prefix = '', smtp = '', fate] = process.argv.slice(2);
const platform = createPlatform({ redis: { url }, prefix, log: { level: 'error' } });
const email = createEmailHandler({ smtp, from: 'shop@example.com' });
await platform.start();
await platform.work({
  lease: '1s',
  stalledCheck: '500ms',
  handlers: [
    handle(email.contract, async (input, context) => {
      const result = await email.run(input, context);
      if (fate === 'die') process.kill(process.pid, 'SIGKILL');
      return result;
    }),
  ],
});
console.log('ready');
