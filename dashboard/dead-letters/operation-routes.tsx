/** Operations: those of all dashboards, one with its progress, its end, and its second start. */
import type { Response, Router } from 'express';
import { viewOf } from '../desk.ts';
import { refusePage } from '../view/refuse.tsx';
import { render } from '../view/render.ts';
import type { ActionParts } from './actions.tsx';
import { actionOf, auditEnd } from './operation-audit.ts';
import { OperationList, OperationPage } from './operation-page.tsx';
import { takesAdmin, type Operation } from './operation.ts';

const GONE = 'There is no such operation. They are kept for a week.';
const ID = /^[\da-f-]{36}$/;

export function addOperations(router: Router, parts: ActionParts): void {
  const { desk, operations } = parts;
  const get = async (id: unknown): Promise<Operation | undefined> =>
    ID.test(String(id)) ? operations.store.get(String(id)) : undefined;

  router.get('/operations', async (_request, response) => {
    const all = await operations.store.list();
    show(response, 'Operations', <OperationList operations={all} />);
  });

  router.get('/operations/:id', async (request, response) => {
    const operation = await get(request.params.id);
    if (!operation) return refusePage(response, 404, GONE);
    const title = operation.plan.kind === 'redrive' ? 'Redrive' : 'Discard';
    show(response, title, <OperationPage operation={operation} />);
  });

  router.post('/operations/:id/abort', async (request, response) => {
    const operation = await get(request.params.id);
    if (!operation) return refusePage(response, 404, GONE);
    const { id, plan } = operation;
    const action = `${plan.of ? 'stream-dead-letters' : 'dead-letters'}.abort`;
    const entry = { action, target: plan.words, detail: `operation ${id}` };
    await desk.act(response, entry, () => operations.abort(id, viewOf(response).user.name));
    desk.redirect(response, `/dead-letters/operations/${id}`);
  });

  router.post('/operations/:id/again', async (request, response) => {
    const operation = await get(request.params.id);
    if (!operation) return refusePage(response, 404, GONE);
    const { id, plan } = operation;
    const { user, may } = viewOf(response);
    if (takesAdmin(plan) && !may('admin'))
      return refusePage(response, 403, 'Discarding all that match takes the role admin.');
    const entry = { action: actionOf(plan), target: plan.words, detail: 'started again' };
    const isStarted = await desk.act(response, entry, async (told) => {
      const hasBegun = await operations.again(id, user.name, auditEnd(parts, response, plan));
      if (!hasBegun) Object.assign(told, { outcome: 'refused', detail: 'it runs already, or is done' });
      return hasBegun;
    });
    const flash = isStarted
      ? undefined
      : ({ tone: 'bad', text: 'It runs already, or has nothing left to do.' } as const);
    desk.redirect(response, `/dead-letters/operations/${id}`, flash);
  });
}

function show(response: Response, title: string, body: preact.JSX.Element): void {
  const styles = ['dead-letters.css'];
  render(response, viewOf(response), { title, active: '/dead-letters', styles, scripts: ['operation.js'], body });
}
