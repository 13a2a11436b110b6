/** The stock jobs, loaded by the command that runs them. As the dashboard, they stand on this package's published surface and are compiled after it. */
import type { Configuration, Handler, Member, Platform, Schedule } from '../index.ts';

/** The stock jobs that are configured. */
export interface Stock {
  readonly handlers: readonly Handler[];
  readonly consumers: readonly Member[];
  readonly schedules: readonly Schedule[];
  /** A line for each, also for those that are left out. */
  readonly summary: readonly string[];
  close(): void;
}

export interface WorkersPackage {
  readonly readStockEnv: () => { configuration: Configuration; settings: object };
  readonly stockHandlers: (settings: object) => Stock;
  readonly declareSchedules: (platform: Platform, schedules: readonly Schedule[]) => Promise<void>;
}

const NAME: string = 'millrace/workers';

export async function loadWorkers(): Promise<WorkersPackage> {
  return (await import(NAME)) as WorkersPackage;
}
