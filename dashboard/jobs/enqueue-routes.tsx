/** A new job: by a form of its contract, or as a copy of another one. */
import { randomUUID } from 'node:crypto';
import type { Response, Router } from 'express';
import { isMillraceError, maskSecrets, toMs, type Enqueued, type EnqueueOptions, type JobInfo } from 'millrace';
import { needs } from '../access/roles.ts';
import { viewOf, type Desk } from '../desk.ts';
import { ActionForm, Back, Table } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { field, query } from '../view/input.ts';
import { refusePage } from '../view/refuse.tsx';
import { render } from '../view/render.ts';
import { listContracts, type KnownContract, type ListedContract } from './contracts.ts';
import { EnqueueForm, type EnqueueParts } from './enqueue-form.tsx';
import { enqueuePath } from './enqueue-path.ts';
import { faultsOf } from './faults.tsx';
import { fieldAt, fieldsOf, inputOf, presetTexts, textsOf, WHOLE, type InputField } from './schema-fields.ts';
import { editableText, LONGEST_EDITED, restoreSecrets } from './secret-fields.ts';

const OPTION_NAMES = ['delay', 'priority', 'attempts'] as const;
const SUBMISSION = /^[\da-f-]{36}$/;
const NO_CONTRACT = 'No worker has told of this contract.';
const NO_JOB = 'There is no such job. It may have been removed.';

export function addEnqueue(router: Router, desk: Desk): void {
  router.get('/enqueue', needs('operator'), async (request, response) => {
    const contracts = await listContracts(desk);
    const name = query(request, 'contract');
    if (name === '') return show(response, 'Enqueue a job', <Choice contracts={contracts.all} />);
    const version = Number(query(request, 'version')) || undefined;
    const contract = contracts.named(name, { version, queue: query(request, 'queue') });
    if (!contract) return refusePage(response, 404, NO_CONTRACT);
    const isJson = query(request, 'as') === 'json';
    const fields = isJson ? [WHOLE] : fieldsOf(contract.inputSchema);
    const secrets = contracts.secretsOf(name);
    const original = await originalOf(desk, query(request, 'copy'), name);
    if (original === null) return refusePage(response, 404, NO_JOB);
    if (original && editableText(original.input, secrets) === undefined)
      return refusePage(response, 413, `Inputs of more than ${LONGEST_EDITED / 1_024} KB are not edited here.`);
    const texts = original ? textsOf(fields, maskSecrets(original.input, secrets)) : presetTexts(fields);
    const copyOf = original?.id ?? '';
    const shown = { contract, fields, texts, faults: {}, copyOf, isJson, hasSecrets: secrets.length > 0 };
    show(response, 'Enqueue a job', <EnqueueForm {...shown} submission={randomUUID()} />);
  });

  router.post('/enqueue', async (request, response) => {
    const contracts = await listContracts(desk);
    const name = field(request, 'contract');
    const version = Number(field(request, 'version'));
    const contract = contracts.named(name, { version, queue: field(request, 'queue') });
    if (!contract) return refusePage(response, 404, NO_CONTRACT);
    const original = await originalOf(desk, field(request, 'copy'), name);
    if (original === null) return refusePage(response, 404, NO_JOB);
    const isJson = field(request, 'as') === 'json';
    const fields = isJson ? [WHOLE] : fieldsOf(contract.inputSchema);
    const texts = Object.fromEntries(
      [...fields.map((one) => one.name), ...OPTION_NAMES].map((one) => [one, field(request, one)]),
    );
    const secrets = contracts.secretsOf(name);
    const typed = inputOf(fields, texts);
    const options = optionsOf(texts);
    const faults = { ...typed.faults, ...options.faults };
    const input = original ? restoreSecrets(typed.input, original.input, secrets) : typed.input;
    const submission = field(request, 'submission');
    const done =
      Object.keys(faults).length === 0 && (await enqueue(desk, contract, input, options.options, submission));
    if (done && 'id' in done) return added(desk, response, contract, done);
    const found = done ? placed(fields, done.faults) : faults;
    const parts: EnqueueParts = {
      contract,
      fields,
      texts,
      faults: found,
      submission: SUBMISSION.test(submission) ? submission : randomUUID(),
      copyOf: original?.id ?? '',
      isJson,
      hasSecrets: secrets.length > 0,
    };
    show(response, 'Enqueue a job', <EnqueueForm {...parts} />, 422);
  });

  router.post('/:id/copy', async (request, response) => {
    const original = await originalOf(desk, request.params.id);
    if (!original) return refusePage(response, 404, NO_JOB);
    const contract = (await listContracts(desk)).named(original.name, original);
    if (!contract) return refusePage(response, 404, NO_CONTRACT);
    const done = await enqueue(desk, contract, original.input, {}, field(request, 'submission'));
    if ('id' in done) return added(desk, response, contract, done, `a copy of ${original.id}`);
    refusePage(response, 400, done.faults.map(({ path, reason }) => `${path} ${reason}`.trim()).join('; '));
  });
}

/** Undefined when none is named; null when it is gone, or of another contract, whose secrets are elsewhere in its input. */
async function originalOf({ platform }: Desk, id: string, contract?: string): Promise<JobInfo | undefined | null> {
  if (id === '') return undefined;
  const job = await platform.jobs.get(id);
  if (job === undefined || job.state === 'cancelled') return null;
  return contract === undefined || job.name === contract ? job : null;
}

function optionsOf(texts: Readonly<Record<string, string>>): {
  options: EnqueueOptions;
  faults: Record<string, string>;
} {
  const faults: Record<string, string> = {};
  const whole = (name: 'priority' | 'attempts', most: number): number | undefined => {
    const text = texts[name]?.trim() ?? '';
    if (text === '') return undefined;
    const value = Number(text);
    if (Number.isInteger(value) && value >= 1 && value <= most) return value;
    faults[name] = `Expected a whole number from 1 to ${most}.`;
    return undefined;
  };
  const delay = texts['delay']?.trim() ?? '';
  const delayMs = delay === '' ? undefined : msOf(delay);
  if (delay !== '' && delayMs === undefined) faults['delay'] = 'Expected a duration such as 30s, 10m or 2h.';
  return {
    options: { delay: delayMs, priority: whole('priority', 2_097_151), attempts: whole('attempts', 1_000) },
    faults,
  };
}

function msOf(text: string): number | undefined {
  try {
    return toMs(text as '1s');
  } catch {
    return undefined;
  }
}

type Faults = Array<{ path: string; reason: string }>;

/** A contract that has a unique key has its own answer to a second one. */
async function enqueue(
  { platform }: Desk,
  { contract }: KnownContract,
  input: unknown,
  options: EnqueueOptions,
  submission: string,
): Promise<Enqueued | { faults: Faults }> {
  const key = contract.unique || !SUBMISSION.test(submission) ? {} : { idempotencyKey: `dashboard/${submission}` };
  try {
    return await platform.jobs.enqueue(contract, input, { ...options, ...key });
  } catch (error) {
    const faults = faultsOf(error);
    if (faults) return { faults };
    if (isMillraceError(error, 'ENQUEUE_TIMEOUT')) return { faults: [{ path: '', reason: error.message }] };
    throw error;
  }
}

async function added(
  desk: Desk,
  response: Response,
  { name }: KnownContract,
  { id, status }: Enqueued,
  detail: string = status,
): Promise<void> {
  await desk.audit(response, {
    action: 'jobs.enqueue',
    target: `${name} ${id}`,
    count: status === 'added' ? 1 : 0,
    detail,
  });
  const text = status === 'added' ? `${id} is enqueued.` : `${id} stands for it: ${status}.`;
  desk.redirect(response, `/jobs/${encodeURIComponent(id)}`, { tone: 'good', text });
}

/** Faults by the names of the fields; those of none stand above the form. */
function placed(fields: readonly InputField[], faults: Faults): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const { path, reason } of faults) {
    const found = path === '' && fields.length > 1 ? undefined : fieldAt(fields, path);
    const at = found?.name ?? '';
    const isItsOwn = found === undefined || found.path.join('.') === path || path === '';
    const text = isItsOwn && found ? reason : path === '' ? reason : `${path}: ${reason}`;
    texts[at] = texts[at] === undefined ? text : `${texts[at]}; ${text}`;
  }
  return texts;
}

function Choice({ contracts }: { contracts: readonly ListedContract[] }) {
  const { path } = useView();
  return (
    <>
      <Back to="/jobs">All jobs</Back>
      <Table
        label="Contracts"
        rows={contracts}
        rowKey={({ name, queue, version }) => `${name} ${queue} ${version}`}
        empty="No contract is known yet: a worker tells those of its handlers when it starts."
        columns={[
          {
            head: 'Contract',
            isTitle: true,
            cell: (contract) => <a href={path(enqueuePath(contract))}>{contract.name}</a>,
          },
          { head: 'Version', align: 'end', cell: ({ version }) => version },
          { head: 'Queue', cell: ({ queue }) => queue },
          { head: 'Attempts', align: 'end', cell: ({ attempts }) => attempts },
        ]}
      />
    </>
  );
}

/** Adds a job with the same input; sent twice, it adds one. */
export function CopyButton({ id }: { id: string }) {
  const to = `/jobs/${encodeURIComponent(id)}/copy`;
  return <ActionForm to={to} fields={{ submission: randomUUID() }} label="Enqueue a copy" />;
}

function show(response: Response, title: string, body: preact.JSX.Element, status = 200): void {
  render(response, viewOf(response), { title, active: '/jobs', styles: ['dead-letters.css'], status, body });
}
