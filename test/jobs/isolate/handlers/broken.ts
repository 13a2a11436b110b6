/** A module that cannot be loaded in a thread. */
import { isMainThread } from 'node:worker_threads';
import { handle } from '../../../../src/jobs/handler.ts';
import { astray } from './contracts.ts';

if (!isMainThread) throw new Error('no database here');

// eslint-disable-next-line import/no-default-export -- what `isolate` asks for.
export default handle(astray, () => 'never', { isolate: import.meta.url });
