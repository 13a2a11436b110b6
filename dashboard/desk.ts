/**
 * What every page is given: the Desk, one for the dashboard, and the View, one for each request.
 *
 * A page reads from `desk.platform`, shows with render(), and changes something only in a POST, within desk.act(), that ends with
 * desk.redirect(). Its router stands behind the sign-in, the CSRF check and its role already.
 */
import type { Request, Response, Router } from 'express';
import type { JobContract, Logger, Platform, StreamContract } from 'millrace';
import type { Role, User } from './access/roles.ts';
import type { AuditEntry } from './audit/audit.ts';
import type { CheckedOptions } from './options.ts';

/** What a page is given when its routes are made. */
export interface Desk {
  readonly platform: Platform;
  /** The dashboard's own options, checked and with their defaults. */
  readonly options: CheckedOptions;
  /** Contracts that the embedding app has named; `platform.jobs.contracts()` tells of those that workers have. */
  readonly contracts: readonly JobContract[];
  /** Likewise of streams. */
  readonly streams: readonly StreamContract[];
  readonly log: Logger;
  /** The pages of this dashboard, in the order of the navigation. */
  readonly pages: readonly Page[];
  /**
   * Changes something and writes it down: as `done`, or with the count, the detail and the outcome that `work` gives to its copy of the entry.
   * What `work` throws is written down as `failed`, with what is known by then, and goes on. Answer the request after it.
   *
   * @example
   * await desk.act(response, { action: 'stream.trim', target: name }, async (told) => {
   *   told.count = await streams.trim(name);
   * });
   */
  readonly act: <T>(response: Response, entry: AuditEntry, work: (told: AuditEntry) => T | Promise<T>) => Promise<T>;
  /** Writes down what was refused, or what was done before. Await it before the answer: what it cannot write down, it logs. */
  readonly audit: (response: Response, entry: AuditEntry) => Promise<void>;
  /** Whether whoever has sent the request is still signed in. For answers that last, now and then; it makes no session live longer. */
  readonly stillSignedIn: (request: Request) => Promise<boolean>;
  /** Ends a POST: 303 to a path of the dashboard, with a message that the next page shows once. */
  readonly redirect: (response: Response, to: string, flash?: Flash) => void;
}

/** A message for the next page. */
export interface Flash {
  tone: 'good' | 'bad' | 'plain';
  text: string;
}

export type Theme = 'auto' | 'light' | 'dark';

/** How a page is to be shown, whether anybody is signed in or not. */
export interface Frame {
  /** The path under which the browser sees the dashboard, without a slash at its end; empty at the root. */
  readonly basePath: string;
  readonly theme: Theme;
  /** The wall clock when the request came. */
  readonly now: number;
  /** Where the browser is: the path within the dashboard, with its query. */
  readonly here: string;
  /** The address of the client, as `trust proxy` has it. */
  readonly address: string;
  /** Whether cookies are for TLS alone. */
  readonly isSecure: boolean;
  /** What the environment is called, if that was told. */
  readonly environment: string | undefined;
  /** A link of this dashboard: `view.path('/jobs/42')`. Every href and action goes through it. */
  readonly path: (to: string) => string;
  /** A link to a file of dashboard/client, to the styles, or to a page's `files`. */
  readonly asset: (name: string) => string;
}

/** What a request of somebody who is signed in brings. viewOf(response) gives it. */
export interface View extends Frame {
  readonly user: User;
  /** For the field `_csrf` of forms and the header `x-csrf-token` of scripts. */
  readonly csrfToken: string;
  readonly flash: Flash | undefined;
  readonly pages: readonly Page[];
  /** Whether the user has this role or a stronger one. */
  readonly may: (role: Role) => boolean;
}

/** What runs while the dashboard runs. Both are called once. */
export interface Running {
  start?(): void | Promise<void>;
  stop?(): void | Promise<void>;
}

/** A page, or a group of pages under one path. */
export interface Page {
  /** Where it stands: `/jobs`. */
  readonly path: string;
  readonly title: string;
  /** Its word in the navigation; without it there is none. */
  readonly nav?: string;
  /** The role that reading takes. */
  readonly needs: Role;
  /** The role that every method but GET and HEAD takes, beside what needs() asks for. Default `operator`. */
  readonly acts?: Role;
  /** Files to serve at view.asset(NAME), by name: file names with their whole path. */
  readonly files?: Readonly<Record<string, string>>;
  /** Adds the routes, relative to the path. */
  routes(router: Router, desk: Desk): void | Running;
}

const FRAME = 'millraceFrame';
const VIEW = 'millraceView';

/** The view of a request. Routes of pages always have one. */
export function viewOf(response: Response): View {
  return response.locals[VIEW] as View;
}

/** Likewise, where nobody may be signed in, such as on an error page. */
export function viewIfAny(response: Response): View | undefined {
  return response.locals[VIEW] as View | undefined;
}

/** How to show a page to whoever has not signed in. */
export function frameOf(response: Response): Frame {
  return response.locals[FRAME] as Frame;
}

/** For the middleware that finds them out, and for nobody else. */
export function keepFrame(response: Response, frame: Frame): void {
  response.locals[FRAME] = frame;
}

/** Likewise. */
export function keepView(response: Response, view: View): void {
  response.locals[VIEW] = view;
}
