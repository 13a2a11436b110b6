/** Runs once before all test files: finds the servers that they start, fetching what this machine lacks, and compiles what runs in processes of their own. */
import type { TestProject } from 'vitest/node';
import { createLogger } from '../../src/log.ts';
import { MillraceError } from '../../src/errors.ts';
import type { ServerBinary } from '../../src/redis/embedded/binary.ts';
import { defaultCacheFolder } from '../../src/redis/embedded/cache-folder.ts';
import { formatProgress } from '../../src/redis/embedded/embedded.ts';
import { findServer } from '../../src/redis/embedded/find-server.ts';
import { provision, REDIS_7_0, REDIS_NEWEST, VALKEY_8, type Build } from '../../src/redis/embedded/provision.ts';
import { compile } from './compiled.ts';

/** The servers that tests can ask for; the text is the reason why one is not there. */
export interface Servers {
  /** The one that the suite runs on: MILLRACE_REDIS_SERVER, or the one that `npm start` would take. */
  main: ServerBinary;
  valkey: ServerBinary | string;
  /** With commands that the main one lacks: XACKDEL, XREADGROUP CLAIM, XADD IDMP. */
  newest: ServerBinary | string;
  tooOld: ServerBinary | string;
}

declare module 'vitest' {
  interface ProvidedContext {
    servers: Servers;
  }
}

/** Resolves to what is called after the last test. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  let lastStep = '';
  const options = {
    cacheFolder: process.env['MILLRACE_CACHE'] ?? defaultCacheFolder(process.env['XDG_CACHE_HOME']),
    log: createLogger({ format: 'pretty' }),
    onProgress: (progress: { step: string; percent: number | undefined }) => {
      if (progress.step !== lastStep) console.log(formatProgress({ step: progress.step, percent: undefined }));
      lastStep = progress.step;
    },
  };
  const main = await findServer({ ...options, server: process.env['MILLRACE_REDIS_SERVER'] });
  const fetch = async (build: Build): Promise<ServerBinary | string> => {
    try {
      return await provision(build, options);
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      console.log(`tests that need ${build.name} are skipped: ${error.message}`);
      return error.message;
    }
  };
  console.log(`tests run on ${main.kind} ${main.version} (${main.source})`);
  project.provide('servers', {
    main,
    valkey: await fetch(VALKEY_8),
    newest: await fetch(REDIS_NEWEST),
    tooOld: await fetch(REDIS_7_0),
  });
  const compiled = await compile();
  project.provide('compiled', compiled.folder);
  project.onTestsRerun(compiled.again);
  return compiled.remove;
}
