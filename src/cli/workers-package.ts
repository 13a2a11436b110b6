/** The stock jobs, loaded by the command that runs them. As the dashboard, they stand on this package's published surface and are compiled after it. */
import type { Configuration, Handler } from '../index.ts';

/** The stock jobs that are configured. */
export interface Stock {
  readonly handlers: readonly Handler[];
  /** A line for each, also for those that are left out. */
  readonly summary: readonly string[];
  close(): void;
}

export interface WorkersPackage {
  readonly readStockEnv: () => { configuration: Configuration; settings: object };
  readonly stockHandlers: (settings: object) => Stock;
}

const NAME: string = 'millrace/workers';

export async function loadWorkers(): Promise<WorkersPackage> {
  return (await import(NAME)) as WorkersPackage;
}
