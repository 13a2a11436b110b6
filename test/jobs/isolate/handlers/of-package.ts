/** An isolated handler that uses the package by its name, as users do. */
import { handle } from 'millrace';
import { parsed } from './contracts.ts';

// eslint-disable-next-line import/no-default-export -- what `isolate` asks for.
export default handle(parsed, ({ url }) => ({ host: url.open().host }), { isolate: import.meta.url });
