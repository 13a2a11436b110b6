#!/usr/bin/env node
// The `millrace` command. In the published package it runs the compiled code; in a checkout there are sources beside this
// file, and tsx runs them as they are, so that nobody runs yesterday's build.
import { existsSync } from 'node:fs';
import { register as registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';

const source = new URL('./main.ts', import.meta.url);
const compiled = new URL('../../dist/cli/main.js', import.meta.url);

if (existsSync(source)) {
  const { register } = await import('tsx/esm/api');
  register({ tsconfig: fileURLToPath(new URL('../../tsconfig.json', import.meta.url)) });
  // What imports this package by its name, as the dashboard does, gets the sources too.
  const toSources =
    'export const resolve = (name, context, next) => next(name, { ...context, conditions: ["millrace-source", ...context.conditions] })';
  registerHooks(`data:text/javascript,${encodeURIComponent(toSources)}`);
  await import(source.href);
} else {
  await import(compiled.href);
}
