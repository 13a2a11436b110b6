#!/usr/bin/env node
// The `millrace` command. In the published package it runs the compiled code; in a checkout there are sources beside this
// file, and tsx runs them as they are, so that nobody runs yesterday's build.
import { existsSync } from 'node:fs';

const source = new URL('./main.ts', import.meta.url);
const compiled = new URL('../../dist/cli/main.js', import.meta.url);

if (existsSync(source)) {
  const { register } = await import('tsx/esm/api');
  register();
  await import(source.href);
} else {
  await import(compiled.href);
}
