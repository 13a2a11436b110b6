/**
 * What Bull Board needs of a web server, without one: it keeps what it is told, and our own router answers. So each route can be held to its
 * role, and is answered with the paths, the colours and the links of whoever asks.
 */
import { createBullBoard } from '@bull-board/api';
import type {
  AppControllerRoute,
  AppViewRoute,
  BullBoardQueues,
  ControllerHandlerReturnType,
  IServerAdapter,
  MetricsHistoryProvider,
  UIConfig,
} from '@bull-board/api/typings/app';

/** Bull Board's parts. */
export class BoardServer implements IServerAdapter {
  routes: AppControllerRoute[] = [];
  entry: AppViewRoute | undefined;
  queues: BullBoardQueues = new Map();
  uiConfig: UIConfig = {};
  /** Where its page and its files lie. */
  viewsPath = '';
  staticPath = '';

  setQueues(queues: BullBoardQueues): this {
    this.queues = queues;
    return this;
  }

  setViewsPath(path: string): this {
    this.viewsPath = path;
    return this;
  }

  setStaticPath(_route: string, path: string): this {
    this.staticPath = path;
    return this;
  }

  setEntryRoute(route: AppViewRoute): this {
    this.entry = route;
    return this;
  }

  /** Ours tells less of the inside. */
  setErrorHandler(_handler: (error: Error) => ControllerHandlerReturnType): this {
    return this;
  }

  setApiRoutes(routes: AppControllerRoute[]): this {
    this.routes = routes;
    return this;
  }

  setUIConfig(config: UIConfig): this {
    this.uiConfig = config;
    return this;
  }
}

/** Bull Board without a queue. `validates`: answers must have the form that it declares, which takes time. */
export function createBoard(
  historyProvider: MetricsHistoryProvider,
  uiConfig: UIConfig,
  validates: boolean,
): BoardServer {
  const serverAdapter = new BoardServer();
  createBullBoard({ queues: [], serverAdapter, options: { historyProvider, uiConfig, validateResponses: validates } });
  return serverAdapter;
}

/** The methods and routes of a list, one each. */
export function eachRoute({
  method,
  route,
}: Pick<AppControllerRoute, 'method' | 'route'>): Array<[method: string, route: string]> {
  return [method].flat().flatMap((one) => [route].flat().map((path): [string, string] => [one, path]));
}
