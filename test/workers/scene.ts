/** A platform with stock handlers, as a worker process has it. */
import { randomUUID } from 'node:crypto';
import { expect } from 'vitest';
import {
  createPlatform,
  handle,
  type DeadLetter,
  type Handler,
  type JobContract,
  type JobInfo,
  type Logger,
  type Platform,
  type WorkOptions,
} from '../../src/index.ts';
import { eventually } from '../support/eventually.ts';
import type { Own } from '../support/owned.ts';

/** Starts one with a prefix that nobody else has. */
export async function startPlatform(
  own: Own,
  url: string,
  { prefix = `stock-${randomUUID()}`, log }: { prefix?: string; log?: Logger } = {},
): Promise<Platform & { prefix: string }> {
  const limits = { deadline: '10s' } as const; // A busy machine is no outage, in which limits let all through.
  const platform = own(createPlatform({ redis: { url }, prefix, limits, log: log ?? { level: 'silent' } }));
  await platform.start();
  return Object.assign(platform, { prefix });
}

/** The handler, whose failed attempts come again at once. */
export function impatient(handler: Handler): Handler {
  return handle({ ...handler.contract, backoff: { type: 'fixed', delayMs: 10, jitter: 0 } }, handler.run);
}

/** What a worker of a test is told, so that it finds the jobs of one that was killed. */
export const QUICK: Omit<WorkOptions, 'handlers'> = { lease: '1s', stalledCheck: '500ms' };

/** The dead letter of the job, once it is there. */
export function letterOf(platform: Platform, id: string): Promise<DeadLetter> {
  return eventually(async () => {
    const letter = await platform.deadLetters.get(`${id}~0`);
    expect(letter).toBeDefined();
    return letter as DeadLetter;
  });
}

/** The job, once it is in the state. */
export function ends(platform: Platform, id: string, state: JobInfo['state']): Promise<JobInfo> {
  return eventually(async () => {
    const info = await platform.jobs.get(id);
    expect(info?.state).toBe(state);
    return info as JobInfo;
  });
}

/** The paths that the input of the contract is refused for. */
export async function faultsOf(contract: JobContract, input: unknown): Promise<string[]> {
  const { issues = [] } = await contract.input['~standard'].validate(input);
  return issues.map(({ path = [] }) => path.map((step) => (typeof step === 'object' ? step.key : step)).join('.'));
}
