/** Jobs of the isolated handler in test/jobs/isolate/handlers/acts.ts, and how they ended. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, inject } from 'vitest';
import type { Handler } from '../../src/jobs/handler.ts';
import type { EnqueueOptions } from '../../src/jobs/enqueue-options.ts';
import type { JobInfo, JobState } from '../../src/jobs/inspect.ts';
import acts from '../jobs/isolate/handlers/acts.ts';
import { act } from '../jobs/isolate/handlers/contracts.ts';
import { eventually } from './eventually.ts';
import { ends, type TestJobs } from './jobs.ts';

/** A thread takes a second or two to load its first handler from sources. */
const LONG_MS = 60_000;

/** The handler as it was compiled, for threads of compiledJobs(). */
export function compiledActs(): Handler {
  const file = join(inject('compiled'), 'test/jobs/isolate/handlers/acts.js');
  return { ...acts, isolate: pathToFileURL(file) };
}

/** What is known of the job once it has come to the state. */
export async function comesTo(all: TestJobs, id: string, state: JobState): Promise<JobInfo> {
  return ends(all, id, state, LONG_MS);
}

/** Adds a job that performs the act. */
export async function enqueueAct(
  all: TestJobs,
  name: string,
  detail?: unknown,
  options?: EnqueueOptions,
): Promise<string> {
  const { id } = await all.jobs.enqueue(act, { act: name, ...(detail !== undefined && { with: detail }) }, options);
  return id;
}

/** What the act returned. */
export async function perform(
  all: TestJobs,
  name: string,
  detail?: unknown,
  options?: EnqueueOptions,
): Promise<unknown> {
  const { result } = await comesTo(all, await enqueueAct(all, name, detail, options), 'completed');
  return result;
}

/** The job whose act failed, with its last attempt. */
export async function performAndFail(
  all: TestJobs,
  name: string,
  detail?: unknown,
): Promise<JobInfo & { error: unknown }> {
  const info = await comesTo(all, await enqueueAct(all, name, detail), 'failed');
  return { ...info, error: info.history.at(-1)?.error };
}

/** Adds a job that performs the act, and waits until its handler has told progress. */
export async function begin(all: TestJobs, name: string, options?: EnqueueOptions): Promise<string> {
  const id = await enqueueAct(all, name, undefined, options);
  await eventually(async () => expect((await all.jobs.get(id))?.progress).toBe(1), LONG_MS);
  return id;
}
