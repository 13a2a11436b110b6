/** A module that has its handler under a name only. */
import { handle } from '../../../../src/jobs/handler.ts';
import { astray } from './contracts.ts';

export const astrayHandler = handle(astray, () => 'never', { isolate: import.meta.url });
