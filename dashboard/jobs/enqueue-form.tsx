/** The form of a new job: the contract's fields, and how it is enqueued. */
import { Back, Button, Field, Form, Notice, Panel, Select, Textarea } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import type { KnownContract } from './contracts.ts';
import { enqueuePath } from './enqueue-path.ts';
import type { InputField } from './schema-fields.ts';

/** What the form shows. */
export interface EnqueueParts {
  contract: KnownContract;
  fields: readonly InputField[];
  /** By the names of fields, also those of the options. */
  texts: Readonly<Record<string, string>>;
  faults: Readonly<Record<string, string>>;
  /** Sent twice, it makes one job. */
  submission: string;
  /** The job whose input this is a copy of. */
  copyOf: string;
  isJson: boolean;
  /** Whether something was masked. */
  hasSecrets: boolean;
}

export function EnqueueForm(parts: EnqueueParts) {
  const { contract, fields, texts, faults, submission, copyOf, isJson } = parts;
  const { path } = useView();
  const other = { ...(copyOf !== '' && { copy: copyOf }), ...(!isJson && { as: 'json' }) };
  return (
    <>
      <Back to="/jobs/enqueue">All contracts</Back>
      <Panel
        title={`${contract.name}, version ${contract.version}, queue ${contract.queue}`}
        actions={
          <a class="button" href={path(enqueuePath(contract, other))}>
            {isJson ? 'Type it into fields' : 'Type it as JSON'}
          </a>
        }
      >
        {faults[''] !== undefined && <Notice tone="bad">{faults['']}</Notice>}
        {!contract.isChecked && (
          <Notice>The schema of the input is not known here: the worker checks it when the job runs.</Notice>
        )}
        {parts.hasSecrets && copyOf !== '' && (
          <p class="hint">What reads [secret] keeps the value of the job that is copied.</p>
        )}
        <Form to="/jobs/enqueue" kind="stack">
          <input type="hidden" name="contract" value={contract.name} />
          <input type="hidden" name="version" value={contract.version} />
          <input type="hidden" name="queue" value={contract.queue} />
          <input type="hidden" name="submission" value={submission} />
          <input type="hidden" name="copy" value={copyOf} />
          <input type="hidden" name="as" value={isJson ? 'json' : ''} />
          {fields.map((field) => (
            <FieldOf key={field.name} field={field} text={texts[field.name] ?? ''} error={faults[field.name]} />
          ))}
          <fieldset class="group">
            <legend>How it is enqueued</legend>
            <Field
              label="Delay"
              name="delay"
              value={texts['delay'] ?? ''}
              placeholder="10m"
              hint="Such as 30s, 10m or 2h. Empty for now."
              error={faults['delay']}
            />
            <Field
              label="Priority"
              name="priority"
              type="number"
              min={1}
              value={texts['priority'] ?? ''}
              hint="1 comes before 2. Empty for the contract's."
              error={faults['priority']}
            />
            <Field
              label="Attempts"
              name="attempts"
              type="number"
              min={1}
              value={texts['attempts'] ?? ''}
              hint={`Empty for the contract's ${contract.attempts}.`}
              error={faults['attempts']}
            />
          </fieldset>
          <div class="actions">
            <Button tone="primary">Enqueue</Button>
          </div>
        </Form>
      </Panel>
    </>
  );
}

const JSON_HINT = 'As JSON: a text in quotes, a number, [a list] or {"an": "object"}.';

function FieldOf({ field, text, error }: { field: InputField; text: string; error: string | undefined }) {
  const { name, path, kind, isRequired, choices, hint } = field;
  const label = path.length === 0 ? 'Input as JSON' : `${path.join('.')}${isRequired ? '' : ' (may be left out)'}`;
  const parts = {
    label,
    name,
    hint: [hint, kind === 'json' && path.length > 0 ? JSON_HINT : ''].join(' ').trim() || undefined,
    error,
  };
  const none = isRequired ? [] : [{ value: '', text: 'none' }];
  switch (kind) {
    case 'boolean':
      return <Select {...parts} value={text} options={[...none, 'false', 'true']} />;
    case 'choice':
      return (
        <Select
          {...parts}
          value={text}
          options={[...none, ...choices.map((value) => ({ value, text: value.replace(/^"(.*)"$/, '$1') }))]}
        />
      );
    case 'number':
      return <Field {...parts} type="number" step="any" value={text} />;
    case 'time':
      // What has seconds or another zone would be lost in a browser's field for times.
      return <Field {...parts} value={text} placeholder="2026-03-01T12:00:00Z" />;
    case 'json':
      return <Textarea {...parts} isCode rows={path.length === 0 ? 14 : 4} value={text} />;
    case 'text':
      return text.includes('\n') ? <Textarea {...parts} value={text} rows={6} /> : <Field {...parts} value={text} />;
  }
}
