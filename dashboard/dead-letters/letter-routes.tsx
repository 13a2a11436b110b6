/** One letter: shown, redriven, edited, discarded. */
import type { Request, Response, Router } from 'express';
import { MillraceError, parseInput, type DeadLetter, type Fault, type RedriveResult } from 'millrace';
import { needs } from '../access/roles.ts';
import { viewOf, type Desk } from '../desk.ts';
import { listContracts, type ContractList, type KnownContract } from '../jobs/contracts.ts';
import { faultsOf, faultText, parseJson } from '../jobs/faults.tsx';
import { editableText, LONGEST_EDITED, restoreSecrets } from '../jobs/secret-fields.ts';
import { Button, Form, Notice, Panel, Textarea } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { field, query } from '../view/input.ts';
import { refusePage } from '../view/refuse.tsx';
import { render } from '../view/render.ts';
import { shownLetter } from '../view/secrets.ts';
import { Letter, letterPath } from './letter.tsx';
import { skipText } from './skips.ts';

/** What the routes work with. */
export interface LetterRouteParts {
  desk: Desk;
  /** Called when letters have gone. */
  changed: () => void;
}

const GONE = 'There is no such dead letter. It may have been redriven or discarded.';

export function addLetters(router: Router, { desk, changed }: LetterRouteParts): void {
  const { platform } = desk;

  router.get('/letter/:id', async (request, response) => {
    const letter = await letterOf(desk, request, query(request, 'queue'));
    if (!letter) return refusePage(response, 404, GONE);
    const [contracts, isPaused] = await Promise.all([listContracts(desk), platform.jobs.isPaused(letter.queue)]);
    const { contract: name } = letter;
    const secrets = contracts.secretsOf(name);
    render(response, viewOf(response), {
      title: `Dead letter of ${name}`,
      active: '/dead-letters',
      styles: ['dead-letters.css'],
      body: (
        <Letter
          letter={shownLetter(letter, secrets)}
          hasSecrets={secrets.length > 0}
          contract={contracts.named(name, { queue: letter.queue })}
          isPaused={isPaused}
        />
      ),
    });
  });

  router.post('/letter/:id/redrive', async (request, response) => {
    const letter = await letterOf(desk, request, field(request, 'queue'));
    if (!letter) return refusePage(response, 404, GONE);
    const result = await platform.deadLetters.redrive(letter.id, { by: viewOf(response).user.name });
    changed();
    await tell(desk, response, letter, result, 'dead-letters.redrive');
  });

  router.post('/letter/:id/discard', async (request, response) => {
    const letter = await letterOf(desk, request, field(request, 'queue'));
    if (!letter) return refusePage(response, 404, GONE);
    const { discarded } = await platform.deadLetters.discard(letter.id);
    changed();
    await desk.audit(response, { action: 'dead-letters.discard', target: letter.id, count: discarded });
    desk.redirect(response, '/dead-letters', { tone: 'good', text: `${letter.id} is discarded.` });
  });

  router.get('/letter/:id/edit', needs('operator'), async (request, response) => {
    const letter = await letterOf(desk, request, query(request, 'queue'));
    if (!letter) return refusePage(response, 404, GONE);
    const contracts = await listContracts(desk);
    const text = editableText(letter.input, contracts.secretsOf(letter.contract));
    if (text === undefined)
      return refusePage(response, 413, `Inputs of more than ${LONGEST_EDITED / 1_024} KB are not edited here.`);
    showEditor(response, letter, contracts.named(letter.contract, { queue: letter.queue }), text);
  });

  router.post('/letter/:id/edit', async (request, response) => {
    const letter = await letterOf(desk, request, field(request, 'queue'));
    if (!letter) return refusePage(response, 404, GONE);
    const contracts = await listContracts(desk);
    const text = field(request, 'input');
    const faults = await redriveEdited(desk, response, { letter, contracts, text });
    if (faults) showEditor(response, letter, contracts.named(letter.contract, { queue: letter.queue }), text, faults);
    else changed();
  });
}

function letterOf({ platform }: Desk, request: Request, queue: string): Promise<DeadLetter | undefined> {
  const id = String(request.params['id']);
  return findLetter(platform, id, queue);
}

/** A queue that nobody ever used has no letters. */
async function findLetter(
  { deadLetters, jobs }: Desk['platform'],
  id: string,
  queue: string,
): Promise<DeadLetter | undefined> {
  if (queue !== '' && !(await jobs.queues()).includes(queue)) return undefined;
  return deadLetters.get(id, queue === '' ? {} : { queue });
}

/** Undefined when it was answered; else what is wrong with the input. */
async function redriveEdited(
  desk: Desk,
  response: Response,
  { letter, contracts, text }: { letter: DeadLetter; contracts: ContractList; text: string },
): Promise<Fault[] | undefined> {
  const read = parseJson(text);
  if ('fault' in read) return [read.fault];
  const known = contracts.named(letter.contract, { queue: letter.queue });
  const secrets = contracts.secretsOf(letter.contract);
  let faults: Fault[] | undefined;
  const result = await desk.platform.deadLetters.redrive(letter.id, {
    by: viewOf(response).user.name,
    ...(known && { contract: known.contract }),
    async edit(input) {
      const edited = restoreSecrets(read.value, input, secrets);
      faults = await faultsIn(edited, known);
      if (faults) throw new MillraceError('INPUT_INVALID', 'the edited input does not match', {});
      return edited;
    },
  });
  if (faults) return faults;
  await tell(desk, response, letter, result, 'dead-letters.edit-and-redrive');
  return undefined;
}

async function faultsIn(input: unknown, known: KnownContract | undefined): Promise<Fault[] | undefined> {
  if (!known) return undefined;
  try {
    await parseInput(known.contract.input, input, 'the edited input');
    return undefined;
  } catch (error) {
    const faults = faultsOf(error);
    if (!faults) throw error;
    return faults;
  }
}

async function tell(
  desk: Desk,
  response: Response,
  { id, jobId }: DeadLetter,
  { redriven, skipped: [skipped] }: RedriveResult,
  action: string,
): Promise<void> {
  const detail = skipped && skipText(skipped);
  await desk.audit(response, { action, target: id, count: redriven, detail, outcome: skipped ? 'failed' : 'done' });
  if (detail === undefined)
    desk.redirect(response, `/jobs/${encodeURIComponent(jobId)}`, { tone: 'good', text: `${jobId} waits again.` });
  else desk.redirect(response, letterPath(id), { tone: 'bad', text: `${id} was left where it is. ${detail}` });
}

function showEditor(
  response: Response,
  letter: DeadLetter,
  contract: KnownContract | undefined,
  text: string,
  faults: readonly Fault[] = [],
): void {
  render(response, viewOf(response), {
    title: `Edit and redrive ${letter.id}`,
    active: '/dead-letters',
    status: faults.length > 0 ? 422 : 200,
    body: <Editor letter={letter} contract={contract} text={text} faults={faults} />,
  });
}

function Editor({
  letter,
  contract,
  text,
  faults,
}: {
  letter: DeadLetter;
  contract: KnownContract | undefined;
  text: string;
  faults: readonly Fault[];
}) {
  const { path } = useView();
  const to = letterPath(letter.id);
  return (
    <Panel title={letter.contract}>
      {!contract?.isChecked && (
        <Notice>The schema of the input is not known here: the worker checks it when the job runs.</Notice>
      )}
      <Form to={`${to}/edit`} kind="stack">
        <input type="hidden" name="queue" value={letter.queue} />
        <Textarea
          label="Input as JSON"
          name="input"
          isCode
          rows={18}
          value={text}
          hint="What reads [secret] keeps its real value."
          error={faultText(faults)}
        />
        <div class="actions">
          <Button tone="primary">Redrive with this input</Button>
          <a class="button quiet" href={path(`${to}?queue=${encodeURIComponent(letter.queue)}`)}>
            Leave it
          </a>
        </div>
      </Form>
    </Panel>
  );
}
