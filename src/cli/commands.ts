/** Every command, by name. Names of two words are told apart by the second; what has the same first word is a group. */
import { api } from './api.ts';
import { bench } from './bench.ts';
import type { Command } from './command.ts';
import { completion } from './completion.ts';
import { dashboard } from './dashboard.ts';
import { dead } from './dead.ts';
import { dev } from './dev.ts';
import { doctor } from './doctor.ts';
import { enqueue } from './enqueue.ts';
import { jobs } from './jobs.ts';
import { keys } from './keys.ts';
import { newJob } from './new-job.ts';
import { password } from './password.ts';
import { queues } from './queues.ts';
import { schedules } from './schedules.ts';
import { streams } from './streams.ts';
import { top } from './top.ts';
import { version } from './version.ts';
import { worker } from './worker.ts';

/** All commands, in the order in which help lists them. */
export const COMMANDS: Readonly<Record<string, Command>> = {
  dev,
  worker,
  dashboard,
  api,
  password,
  ...keys,
  doctor,
  top,
  enqueue,
  ...jobs,
  ...queues,
  ...dead,
  ...schedules,
  ...streams,
  bench,
  'new job': newJob,
  completion: completion(() => COMMANDS),
  version,
};

/** The commands whose names begin with the word. */
export function groupOf(first: string): string[] {
  return Object.keys(COMMANDS).filter((name) => name === first || name.startsWith(`${first} `));
}
