/** Redriving and discarding letters of a group: one at once, many by an operation. */
import type { Request, Response, Router } from 'express';
import type { StreamLetterFilter } from 'millrace';
import { viewOf } from '../../desk.ts';
import { field, fields } from '../../view/input.ts';
import { refusePage } from '../../view/refuse.tsx';
import type { ActionParts } from '../actions.tsx';
import { lettersText } from '../filter.ts';
import { actionOf, auditEnd } from '../operation-audit.ts';
import { takesAdmin, type Plan } from '../operation.ts';
import { ENTRY_ID, filterBy, groupOf, groupPath, type Group } from './group.ts';

type Kind = Plan['kind'];
type Target = string[] | StreamLetterFilter;
type Meant = Pick<Plan, 'kind' | 'target'>;

/** Those of a page. */
const MOST_IDS = 50;

export function addStreamActions(router: Router, parts: ActionParts): void {
  router.post('/streams/:stream/:group/:act', async (request, response, next) => {
    const kind = request.params.act;
    if (kind !== 'redrive' && kind !== 'discard') return next();
    const found = await groupOf(parts.desk, request, response);
    if (!found) return refusePage(response, 404, 'There is no such group.');
    const target = targetBy(request);
    if (target === undefined && field(request, 'all') === 'yes')
      return refusePage(response, 400, 'There is no such reason.');
    if (target === undefined) {
      const text = 'Select letters in the list first.';
      return parts.desk.redirect(response, groupPath(found.stream, found.group), { tone: 'bad', text });
    }
    const meant: Meant = { kind, target: target as Plan['target'] };
    if (takesAdmin(meant) && !viewOf(response).may('admin'))
      return refusePage(response, 403, 'Discarding all that match takes the role admin.');
    const [id] = Array.isArray(target) && target.length === 1 ? target : [];
    if (id !== undefined) return actOnOne(parts, response, found, kind, id);
    return start(parts, response, found, meant);
  });
}

/** Ids, or all that fit; undefined when nothing is meant. */
function targetBy(request: Request): Target | undefined {
  const ids = fields(request, 'id').filter((id) => ENTRY_ID.test(id));
  if (ids.length > 0) return [...new Set(ids)].slice(0, MOST_IDS);
  if (field(request, 'all') !== 'yes') return undefined;
  const reason = field(request, 'reason');
  const filter = filterBy((name) => field(request, name));
  // A reason that is none must not mean all.
  return reason !== '' && filter.reason === undefined ? undefined : filter;
}

async function actOnOne(
  { desk }: ActionParts,
  response: Response,
  { stream, group, letters }: Group,
  kind: Kind,
  id: string,
): Promise<void> {
  const entry = { action: actionOf({ kind, of: { stream, group } }), target: `${stream} ${group}: ${id}` };
  const count = await desk.act(response, entry, async (told) => {
    told.count = kind === 'redrive' ? (await letters.redrive(id)).redriven : (await letters.discard(id)).discarded;
    return told.count;
  });
  const what = kind === 'redrive' ? 'redriven' : 'discarded';
  desk.redirect(response, groupPath(stream, group), {
    tone: count > 0 ? 'good' : 'plain',
    text: count > 0 ? `The dead letter is ${what}.` : 'It was not there any more.',
  });
}

async function start(
  parts: ActionParts,
  response: Response,
  { stream, group }: Group,
  { kind, target }: Meant,
): Promise<void> {
  const { desk, operations } = parts;
  const words = inWords(`${stream}, ${group}`, target);
  const plan = { kind, of: { stream, group }, target, words, expected: 0, by: viewOf(response).user.name };
  const entry = { action: actionOf(plan), target: words, detail: 'started' };
  const id = await desk.act(response, entry, () => operations.start(plan, auditEnd(parts, response, plan)));
  desk.redirect(response, `/dead-letters/operations/${id}`);
}

function inWords(of: string, target: Target): string {
  if (Array.isArray(target)) return `${target.length} selected ${lettersText(target.length)} of ${of}`;
  const said = Object.entries(target).map(([name, value]) => `${name} ${String(value)}`);
  return said.length === 0 ? `all dead letters of ${of}` : `dead letters of ${of} with ${said.join(', ')}`;
}
