/**
 * A login, step by step: a device signs in, proves a second factor for what is dangerous, looks at its other devices, and ends them.
 *
 *   node --conditions=millrace-source --import tsx examples/sessions.ts      in a checkout
 */
import { createPlatform, readEnv } from 'millrace';
import { z } from 'zod';

const platform = createPlatform({ ...readEnv().platform, log: { level: 'error' } });
await platform.start();

const web = platform.sessions.realm('example-web', {
  data: z.object({ theme: z.string().default('light'), cart: z.array(z.string()).default([]) }),
  idle: '30m',
  absolute: '30d',
  secret: 'in an app: readEnv, a secret store', // Peppers what Redis keeps.
});
const user = `ada-${process.pid}`;

// Sockets of a session are closed wherever it ends, in any process.
web.on('revoked', ({ sessionId }) => console.log('close the sockets of', sessionId.slice(-6)));
await web.ready();

// Two devices sign in. The token goes to the client and nowhere else; the id may stand in logs.
const phone = await web.create(user, { device: { name: 'phone', ip: '192.0.2.1' } });
const laptop = await web.create(user, { device: { name: 'laptop', ip: '192.0.2.2' } });

// Each request: who is it?
const checked = await web.validate(laptop.token);
if (!checked.ok) throw new Error(checked.reason);
console.log(checked.session.userId === user, checked.session.level, checked.session.data);

// Something dangerous wants more than a password; the token is another one from then on.
console.log('may pay out:', web.reaches(checked.session, 'second-factor'));
const raised = await web.elevate(laptop.token, 'second-factor');
if (!raised.ok) throw new Error(raised.reason);
console.log('may pay out:', web.reaches(raised.session, 'second-factor'));

// Data of the session; two tabs that change it at once lose nothing of one another.
await Promise.all([
  web.update(raised.session.id, { theme: 'dark' }),
  web.update(raised.session.id, { cart: ['sku-4711'] }),
]);
const now = await web.validate(raised.token);
console.log(now.ok && now.session.data);

// The page of devices, and its button: all others sign out.
for (const { device } of await web.list(user)) console.log('signed in on', device.name);
console.log('signed out:', await web.revokeAll(user, { except: raised.session.id }));
console.log(await web.validate(phone.token));

await web.revoke(raised.session.id);
console.log(await web.validate(raised.token));
await platform.stop();
