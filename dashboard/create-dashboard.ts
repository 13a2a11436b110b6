/**
 * The dashboard: an Express app that stands on its own or inside of another one.
 *
 * Promise: nothing of a page is shown to whoever is not signed in. Before start() and after stop() the pages answer 503, and the endpoints for
 * machines answer as ever.
 * Redis down: pages answer 503 within the deadlines of the modules; nobody is signed in or out by it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import express, { Router, type RequestHandler } from 'express';
import { MillraceError, type Logger, type Platform } from 'millrace';
import { createGuard, flashKey } from './access/guard.ts';
import { hardened } from './access/headers.ts';
import { safePath } from './access/next-path.ts';
import { sharedSecret } from './access/secret.ts';
import { Door } from './access/session.ts';
import { makeLinkToken } from './access/sign-in-link.ts';
import { addSignIn, addSignOut } from './access/sign-in.tsx';
import { UserList } from './access/user-list.ts';
import { AuditLog } from './audit/audit.ts';
import { auditPage } from './audit/page.tsx';
import { frameOf, viewOf, type Desk, type Page, type Running } from './desk.ts';
import { endpoints } from './endpoints.ts';
import { checkDashboard, type CheckedOptions, type DashboardOptions } from './options.ts';
import { PAGES } from './pages.ts';
import { readAssets } from './view/assets.ts';
import { failed, unanswered } from './view/failures.tsx';
import { keepFlash } from './view/flash.ts';
import { framed, THEME_COOKIE } from './view/frame.ts';
import { field } from './view/input.ts';
import { refusePage } from './view/refuse.tsx';

/** A dashboard. */
export interface Dashboard {
  /** For `app.use()` of an Express app, or to listen with. */
  readonly router: (request: IncomingMessage, response: ServerResponse, next?: (error?: unknown) => void) => void;
  /** Opens the pages; the platform must have been started. @throws MillraceError OPTIONS_INVALID for a list of users that cannot be read */
  start(): Promise<void>;
  /** Closes the pages and ends what runs behind them. The platform is left as it is. */
  stop(): Promise<void>;
  /**
   * A link that signs in as admin, once, within 15 minutes.
   *
   * @param url the address of the dashboard, where the option `url` does not tell it
   * @throws MillraceError OPTIONS_INVALID when users are listed, or the address is not known
   */
  signInLink(url?: string): Promise<string>;
}

/** What a page may send: the largest input of a job, and what stands around it. */
const BODY_LIMIT = '6mb';

/**
 * A dashboard of a platform.
 *
 * @example
 * const dashboard = createDashboard(platform, { users: ['ada:admin:$scrypt$ln=15,r=8,p=3$...'] });
 * app.use('/ops', dashboard.router);
 * await platform.start();
 * await dashboard.start();
 * @throws MillraceError OPTIONS_INVALID
 */
export function createDashboard(platform: Platform, options: DashboardOptions = {}): Dashboard {
  return new RunningDashboard(platform, checkDashboard(options));
}

class RunningDashboard implements Dashboard {
  readonly router: express.Express = express();
  readonly #platform: Platform;
  readonly #options: CheckedOptions;
  readonly #log: Logger;
  readonly #users: UserList;
  readonly #audit: AuditLog;
  readonly #pages: readonly Page[];
  #open: RequestHandler | undefined;
  #running: Running[] = [];
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(platform: Platform, options: CheckedOptions) {
    this.#platform = platform;
    this.#options = options;
    this.#log = platform.log.child({ module: 'dashboard' });
    this.#users = new UserList(options.users, options.usersFile, this.#log);
    this.#audit = new AuditLog(platform, this.#log, options);
    this.#pages = [...PAGES, auditPage(() => this.#audit)];
    this.#serve();
  }

  start(): Promise<void> {
    this.#starting ??= this.#start();
    return this.#starting;
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async signInLink(url: string | undefined = this.#options.url): Promise<string> {
    if (!this.#users.isEmpty)
      throw invalid('signInLink: users are listed, so that no link signs in. Sign in as one of them');
    if (url === undefined) throw invalid('signInLink: expected the address of the dashboard, or the option url');
    return `${url.replace(/\/$/, '')}/sign-in?link=${await makeLinkToken(this.#platform)}`;
  }

  /** What answers before the pages are open. */
  #serve(): void {
    const { trustProxy, metricsToken } = this.#options;
    const assets = readAssets(this.#pages);
    const app = this.router.disable('x-powered-by').disable('etag').set('query parser', 'simple');
    if (trustProxy !== undefined) setTrust(app, trustProxy);
    app.use(hardened, framed(app, this.#options, assets, this.#log));
    app.get('/assets/:name', assets.serve);
    app.use(endpoints(this.#platform, metricsToken));
    app.use((request, response, next) => {
      if (this.#open) return void this.#open(request, response, next);
      response.set('Retry-After', '2');
      refusePage(response, 503, 'The dashboard is starting or stopping.');
      return undefined;
    });
    app.use(failed(this.#log));
  }

  async #start(): Promise<void> {
    if (this.#stopping) throw new MillraceError('CLOSED', 'the dashboard has been stopped', {});
    await this.#users.load();
    const secret = await sharedSecret(this.#platform, this.#options.secret);
    const door = new Door(this.#platform, this.#users, this.#options);
    const guard = createGuard(door, secret, this.#pages);
    const desk = this.#makeDesk(door, secret);
    const router = Router();
    router.use(door.find);
    addSignIn(router, { desk, audit: this.#audit, door, guard, users: this.#users });
    router.use(guard.signedIn);
    router.use(express.urlencoded({ extended: false, limit: BODY_LIMIT, parameterLimit: 20_000 }));
    router.use(express.json({ limit: BODY_LIMIT }), guard.protect);
    addSignOut(router, { desk, door });
    router.post('/theme', chooseTheme);
    const mounted = this.#pages.map((page) => ({ page, path: page.path, router: Router() }));
    // The longest path first, so that the page at `/` takes what is left.
    for (const { page, path, router: own } of mounted.toSorted((one, other) => other.path.length - one.path.length)) {
      const running = page.routes(own, desk);
      if (running) this.#running.push(running);
      router.use(path, guard.roles(page), own);
    }
    router.use(unanswered(mounted));
    this.#platform.streams.collectKnown(); // Its scrape is the one that has all.
    for (const running of this.#running) await running.start?.();
    if (!this.#stopping) this.#open = router;
  }

  async #stop(): Promise<void> {
    this.#open = undefined;
    // What start() met was told to whoever called it.
    await this.#starting?.catch(() => undefined);
    this.#open = undefined;
    for (const running of this.#running.toReversed()) await running.stop?.();
  }

  #makeDesk(door: Door, secret: string): Desk {
    return {
      platform: this.#platform,
      options: this.#options,
      contracts: this.#options.contracts,
      streams: this.#options.streams,
      log: this.#log,
      pages: this.#pages,
      act: (response, entry, work) => this.#audit.act(viewOf(response), entry, work),
      audit: (response, entry) => this.#audit.write(viewOf(response), entry),
      stillSignedIn: (request) => door.stillSignedIn(request),
      redirect(response, to, flash) {
        const { req: request } = response;
        if (flash) keepFlash(response, flash, flashKey(secret, door.sessionId(request)));
        response.redirect(303, frameOf(response).path(safePath(to)));
      },
    };
  }
}

/** Keeps the choice of colours in the browser, for a year. */
const chooseTheme: RequestHandler = (request, response) => {
  const theme = field(request, 'theme');
  const options = { path: '/', sameSite: 'lax', httpOnly: true, secure: frameOf(response).isSecure } as const;
  if (theme === 'light' || theme === 'dark')
    response.cookie(THEME_COOKIE, theme, { ...options, maxAge: 365 * 86_400_000 });
  else response.clearCookie(THEME_COOKIE, options);
  response.redirect(303, frameOf(response).path(safePath(field(request, 'next'))));
};

/** Express throws for what is no address; its message names it. */
function setTrust(app: express.Express, trustProxy: number | boolean | string): void {
  try {
    app.set('trust proxy', trustProxy);
  } catch (error) {
    throw invalid(`trustProxy: expected how many proxies, or their addresses: ${(error as Error).message}`);
  }
}

function invalid(message: string): MillraceError {
  return new MillraceError('OPTIONS_INVALID', `createDashboard: ${message}`, {});
}
