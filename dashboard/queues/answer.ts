/**
 * Answers an endpoint of Bull Board: for whom it is, in which way it is done, what is left out of the answer, and what the audit is told.
 *
 * Promise: nothing is changed by whoever may not, by an endpoint that endpoints.ts does not have, or without a line in the audit.
 */
import { randomBytes } from 'node:crypto';
import type { Request, RequestHandler } from 'express';
import type { AppControllerRoute, BullBoardRequest } from '@bull-board/api/typings/app';
import { isMillraceError } from 'millrace';
import { reaches } from '../access/roles.ts';
import { viewOf, type Desk, type View } from '../desk.ts';
import { actInstead, refusal, type Acted } from './actions.ts';
import type { BoardServer } from './board-server.ts';
import { endpointOf, type Endpoint } from './endpoints.ts';
import type { KnownQueues } from './known-queues.ts';
import type { Memo } from '../memo.ts';
import { boardName, readName } from './names.ts';

/** What answers are made with. */
export interface AnswerParts {
  readonly desk: Desk;
  readonly board: BoardServer;
  readonly known: KnownQueues;
  readonly memo: Memo;
  /** Of the queues with the jobs of one of them, which are large. */
  readonly pages: Memo;
}

/** Jobs of a page at most: each is read and sent whole, up to what is shown of one. */
const MOST_JOBS = 50;

/** The handler of a route. */
export function answering(
  parts: AnswerParts,
  bullBoards: AppControllerRoute,
  method: string,
  path: string,
): RequestHandler {
  const route = `${method} ${path}`;
  const { desk, board, known, memo, pages } = parts;
  const forget = (): void => {
    memo.clear();
    pages.clear();
  };
  return async (request, response) => {
    const view = viewOf(response);
    const params = paramsOf(request);
    const endpoint = endpointOf(route, params);
    const { action, role } = endpoint;
    const toldOf = action === undefined ? undefined : targetOf(params);
    const refused = whyNot(endpoint, view, params);
    let acted: Acted;
    if (refused !== undefined) acted = refusal(403, refused);
    else {
      try {
        if (action !== undefined) forget();
        const active = activeQueue(request);
        await known.refresh(params['queueName'] ?? active);
        const asked = boardRequest(request, board, params, active);
        const instead = () =>
          actInstead(route, { platform: desk.platform, queues: board.queues, params, user: view.user.name });
        const own = () => Promise.resolve(bullBoards.handler(asked)) as Promise<Acted>;
        if (action !== undefined) acted = (await instead()) ?? (await own());
        else if (path === '/api/queues') acted = await pages.get(pageName(asked), own);
        else acted = await own();
      } catch (error) {
        acted = failure(desk, route, error);
      } finally {
        if (action !== undefined) forget();
      }
    }
    const status = acted.status ?? 200;
    if (action !== undefined) {
      const outcome = refused === undefined ? (status < 400 ? 'done' : 'failed') : 'refused';
      await desk.audit(response, {
        action,
        target: toldOf,
        count: countOf(acted),
        outcome,
        detail: detailOf(acted, role, outcome),
      });
    }
    response
      .status(status)
      .json(path.startsWith('/api/queues') && status === 200 ? seenBy(view, path, acted.body) : acted.body);
  };
}

function whyNot(
  { role, refused, refusedForDead }: Endpoint,
  { user }: View,
  params: Record<string, string>,
): string | undefined {
  if (!reaches(user.role, role)) return `This takes the role ${role}. You are signed in as ${user.role}.`;
  if (refused !== undefined) return refused;
  return readName(params['queueName'] ?? '').isDead ? refusedForDead : undefined;
}

/** Those of the address, the queue by its name on the board. */
function paramsOf(request: Request): Record<string, string> {
  const params = request.params as Record<string, string>;
  const { queueName } = params;
  return queueName === undefined ? params : { ...params, queueName: boardName(readName(queueName)) };
}

function boardRequest(
  { query: asked, body = {} }: Request,
  { queues, uiConfig }: BoardServer,
  params: Record<string, string>,
  active: string | undefined,
): BullBoardRequest {
  const query = { ...(asked as Record<string, string>) };
  if (Number(query['jobsPerPage']) > MOST_JOBS) query['jobsPerPage'] = String(MOST_JOBS);
  if (active === undefined || !queues.has(active)) delete query['activeQueue'];
  else query['activeQueue'] = encodeURIComponent(active);
  // A copy, as other requests may change it meanwhile. Of the headers it needs none, and they hold the session.
  return { queues: new Map(queues), uiConfig, query, params, body: body as Record<string, unknown>, headers: {} };
}

/** By what the answer depends on, and nothing else that an address may have. */
function pageName({ query }: BullBoardRequest): string {
  return JSON.stringify(['activeQueue', 'status', 'page', 'jobsPerPage'].map((name) => query[name]));
}

/** The queue whose jobs are asked for; Bull Board encodes its name once more than the address does. */
function activeQueue({ query }: Request): string | undefined {
  const name = query['activeQueue'];
  if (typeof name !== 'string' || name === '') return undefined;
  try {
    return boardName(readName(decodeURIComponent(name)));
  } catch {
    return undefined; // A name that nobody has.
  }
}

/** In words of the audit: the queue, that it is about its dead letters, which of its jobs. */
function targetOf({ queueName, jobId, queueStatus, schedulerId }: Record<string, string>): string {
  if (queueName === undefined) return 'all queues';
  const { queue, isDead } = readName(queueName);
  const which = jobId ?? schedulerId ?? queueStatus;
  return [queue, ...(isDead ? ['dead letters'] : []), ...(which === undefined ? [] : [which])].join(' ');
}

function countOf({ count, body, status = 200 }: Acted): number | undefined {
  if (count !== undefined || status >= 400) return count;
  const told = body as { retried?: unknown; removed?: unknown };
  return [told.retried, told.removed].find((one) => typeof one === 'number');
}

/** What was wrong, if anything. */
function detailOf({ body }: Acted, role: string, outcome: string): string | undefined {
  if (outcome === 'done') return undefined;
  const { message, error } = body as { message?: unknown; error?: { key?: string } };
  return typeof message === 'string' ? message : (error?.key ?? `not done; it takes the role ${role}`);
}

function failure(desk: Desk, route: string, error: unknown): Acted {
  if (isMillraceError(error) && error.code === 'JOB_UNKNOWN') return refusal(404, 'It is gone.');
  const reference = randomBytes(6).toString('hex');
  desk.log.error({ err: error, reference, route }, 'a request of Bull Board failed');
  const isAway = isMillraceError(error) && error.code.startsWith('REDIS_');
  return refusal(
    500,
    isAway ? 'Redis does not answer as it should for now.' : `The log has more under the reference ${reference}.`,
  );
}

/** A viewer is shown no buttons; the progress of the jobs of a flow, which may hold anything, is shown as far as it is a number. */
function seenBy(view: View, path: string, body: Acted['body']): unknown {
  if (path === '/api/queues' && !view.may('operator')) {
    const { queues } = body as { queues: object[] };
    return { queues: queues.map((queue) => ({ ...queue, readOnlyMode: true })) };
  }
  if (path.endsWith('/flow')) {
    const { flowRoot, ...rest } = body as { flowRoot: FlowNode | null };
    return { ...rest, flowRoot: flowRoot && plainNode(flowRoot) };
  }
  return body;
}

interface FlowNode {
  progress: unknown;
  children: FlowNode[];
}

function plainNode({ progress, children, ...node }: FlowNode): FlowNode {
  return { ...node, progress: typeof progress === 'number' ? progress : 0, children: children.map(plainNode) };
}
