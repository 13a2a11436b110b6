/**
 * The dashboard, loaded when a command needs it. It stands on this package's published surface and is compiled after it, so its name is one
 * that the compiler does not follow, and what is used of it is said here.
 */
import type { RequestHandler } from 'express';
import type { Configuration, Platform } from '../index.ts';

/** The dashboard within another app. */
export interface Dashboard {
  readonly router: RequestHandler;
  start(): Promise<void>;
  stop(): Promise<void>;
  signInLink(url: string): Promise<string>;
}

export interface DashboardPackage {
  readonly createDashboard: (platform: Platform, options: Omit<Configuration['dashboard'], 'metricsPort'>) => Dashboard;
  readonly runDashboard: (
    configuration: Configuration,
    options: { say: (lines: readonly string[]) => void; onProgress: (line: string) => void },
  ) => Promise<number>;
  readonly dashboardLink: (platform: Platform, configuration: Configuration) => Promise<string>;
  readonly createUserLine: (name: string, role: string, password: string) => Promise<string>;
}

const NAME: string = 'millrace/dashboard';

export async function loadDashboard(): Promise<DashboardPackage> {
  return (await import(NAME)) as DashboardPackage;
}
