// Where the thread of an isolated handler begins. In a checkout there are sources beside this file, which need tsx.
import { existsSync } from 'node:fs';
import { makeTypeScriptLoadable } from './typescript.js';

const source = new URL('./thread.ts', import.meta.url);
const compiled = new URL('./thread.js', import.meta.url);

if (existsSync(source)) {
  await makeTypeScriptLoadable(source.href);
  await import(source.href);
} else {
  await import(compiled.href);
}
