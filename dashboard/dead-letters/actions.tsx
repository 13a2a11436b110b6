/** Redriving and discarding many letters: first what would be done, then the start of an operation. */
import type { Request, Response, Router } from 'express';
import { isMillraceError, type DeadLetterFilter } from 'millrace';
import { viewOf, type Desk } from '../desk.ts';
import { countText } from '../live/texts.ts';
import { listSecrets } from '../jobs/contracts.ts';
import { field, fields } from '../view/input.ts';
import { refusePage } from '../view/refuse.tsx';
import { render } from '../view/render.ts';
import { askedBy, filterOf, inWords, lettersText, listLink, type Asked } from './filter.ts';
import { actionOf, auditEnd } from './operation-audit.ts';
import type { Plan } from './operation.ts';
import type { Operations } from './operations.ts';
import { Preview, type Found, type StartFaults } from './preview.tsx';
import { addStreamActions } from './streams/actions.ts';

/** What acting takes. */
export interface ActionParts {
  desk: Desk;
  operations: Operations;
  /** Called when letters have gone. */
  changed: () => void;
}

interface Meant {
  target: string[] | DeadLetterFilter;
  words: string;
  asked: Asked;
  ids: string[];
}

/** What fits is counted for so long; then a lower bound is told. */
const COUNT_FOR_MS = 2_000;
const MOST_IDS = 1_000;
const LONGEST_ID = 200;
const MOST_CANARY = 100;
const NOTHING = 'No letter was selected.';
const ADMIN_ONLY = 'Discarding all that match takes the role admin; select letters to discard them.';

export function addActions(router: Router, parts: ActionParts): void {
  router.post('/act', async (request, response) => {
    const act = field(request, 'act');
    const kind = act.endsWith('discard') ? 'discard' : 'redrive';
    if (!['redrive', 'discard', 'start-redrive', 'start-discard'].includes(act))
      return refusePage(response, 400, 'It was not said what to do.');
    const meant = await meantBy(parts.desk, request);
    if (meant === NOTHING && !act.startsWith('start-')) {
      const back = listLink(askedBy((name) => field(request, name)));
      return parts.desk.redirect(response, back, { tone: 'bad', text: 'Select letters in the list first.' });
    }
    if (typeof meant === 'string') return refusePage(response, 400, meant);
    const isAll = meant.ids.length === 0;
    if (kind === 'discard' && isAll && !viewOf(response).may('admin')) return refusePage(response, 403, ADMIN_ONLY);
    if (!act.startsWith('start-')) return preview(parts, response, kind, meant);
    const { options, faults } = kind === 'redrive' ? optionsOf(request) : { options: {}, faults: {} };
    if (Object.keys(faults).length > 0) return preview(parts, response, kind, meant, { request, faults });
    await start(parts, response, { kind, meant, options });
  });
  addStreamActions(router, parts);
}

/** The letters that are meant, or why none can be. A field that cannot be read must not mean more than was wanted. */
async function meantBy(desk: Desk, request: Request): Promise<Meant | string> {
  const asked = askedBy((name) => field(request, name));
  const ids = [...new Set(fields(request, 'id').filter((id) => id !== ''))];
  if (ids.length > MOST_IDS) return `At most ${MOST_IDS} letters can be selected one by one.`;
  if (ids.some((id) => id.length > LONGEST_ID)) return `An id has at most ${LONGEST_ID} characters.`;
  if (ids.length > 0)
    return { target: ids, words: `${countText(ids.length)} selected ${lettersText(ids.length)}`, asked, ids };
  if (field(request, 'all') !== 'yes') return NOTHING;
  const { secrets } = await listSecrets(desk);
  const { filter, faults } = filterOf(asked, secrets);
  const [fault] = Object.entries(faults);
  if (fault) return `${fault[0]}: ${fault[1]}`;
  return { target: filter, words: inWords(asked), asked, ids };
}

async function preview(
  { desk }: ActionParts,
  response: Response,
  kind: Plan['kind'],
  { target, words, asked, ids }: Meant,
  again?: { request: Request; faults: StartFaults },
): Promise<void> {
  const [found, queues] = await Promise.all([count(desk, target), desk.platform.jobs.queues()]);
  if (!found) return refusePage(response, 404, 'There is no such queue.');
  const given = (name: string): string => (again ? field(again.request, name) : '');
  render(response, viewOf(response), {
    title: kind === 'redrive' ? 'Redrive' : 'Discard',
    active: '/dead-letters',
    status: again ? 422 : 200,
    body: (
      <Preview
        kind={kind}
        words={words}
        asked={asked}
        ids={ids}
        found={found}
        queues={queues.toSorted()}
        given={given}
        faults={again?.faults ?? {}}
      />
    ),
  });
}

/** A dry run, for as long as a reader waits. Undefined for a queue that is not there. */
async function count({ platform }: Desk, target: Meant['target']): Promise<Found | undefined> {
  const signal = AbortSignal.timeout(COUNT_FOR_MS);
  try {
    const { matched, queues = {} } = await platform.deadLetters.redrive(target, { dryRun: true, signal });
    return { matched, queues, isWhole: !signal.aborted };
  } catch (error) {
    if (isMillraceError(error, 'JOB_UNKNOWN')) return undefined;
    throw error;
  }
}

type StartOptions = Pick<Plan, 'limit' | 'rate' | 'to' | 'canary'>;

function optionsOf(request: Request): { options: StartOptions; faults: StartFaults } {
  const faults: StartFaults = {};
  const number = (name: keyof StartFaults, least: number, most: number, isWhole: boolean): number | undefined => {
    const text = field(request, name).trim();
    if (text === '') return undefined;
    const value = Number(text);
    if (value >= least && value <= most && (!isWhole || Number.isInteger(value))) return value;
    faults[name] = `Expected ${isWhole ? 'a whole number' : 'a number'} from ${least} to ${most}.`;
    return undefined;
  };
  const limit = number('limit', 1, 1_000_000_000, true);
  const rate = number('rate', 0.01, 100_000, false);
  const first = number('first', 1, MOST_CANARY, true);
  const wait = number('wait', 1, 3_600, false) ?? 60;
  const share = number('share', 0, 100, false) ?? 0;
  const to = field(request, 'toQueue'); // The field `to` is a time of the filter.
  const options: StartOptions = {
    ...(limit !== undefined && { limit }),
    ...(rate !== undefined && { rate }),
    ...(to !== '' && { to }),
    ...(first !== undefined && { canary: { count: first, waitMs: wait * 1_000, maxShare: share / 100 } }),
  };
  return { options, faults };
}

async function start(
  parts: ActionParts,
  response: Response,
  { kind, meant, options }: { kind: Plan['kind']; meant: Meant; options: StartOptions },
): Promise<void> {
  const { desk, operations } = parts;
  const found = await count(desk, meant.target);
  if (!found) return refusePage(response, 404, 'There is no such queue.');
  if (options.to !== undefined && !(await desk.platform.jobs.queues()).includes(options.to))
    return refusePage(response, 400, `There is no queue ${options.to}.`);
  const { target, words } = meant;
  const by = viewOf(response).user.name;
  const expected = Math.min(found.matched, options.limit ?? Number.MAX_SAFE_INTEGER);
  // The stored form is what JSON makes of it.
  const plan = { kind, target: target as Plan['target'], words, expected, by, ...options };
  const detail = `started: ${expected} meant, ${wordsOf(options)}`;
  const entry = { action: actionOf(plan), target: words, detail };
  const id = await desk.act(response, entry, () => operations.start(plan, auditEnd(parts, response, plan)));
  desk.redirect(response, `/dead-letters/operations/${id}`);
}

function wordsOf({ limit, rate, to, canary }: StartOptions): string {
  const words = [
    limit === undefined ? [] : `limit ${limit}`,
    rate === undefined ? [] : `${rate} a second`,
    to === undefined ? [] : `to ${to}`,
    canary ? `canary of ${canary.count}` : [],
  ].flat();
  return words.length === 0 ? 'without limits' : words.join(', ');
}
