/** Forms: each POST bears the CSRF token, each field its label. Without script a form works as it stands. */
import type { ComponentChildren } from 'preact';
import type { Role } from '../access/roles.ts';
import { useView } from './context.ts';

export type ButtonTone = 'plain' | 'primary' | 'danger' | 'quiet';

/** The hidden field that every POST needs. */
export function CsrfField() {
  return <input type="hidden" name="_csrf" value={useView().csrfToken} />;
}

/** A button that sends its form; `name` and `value` go with it. */
export function Button({
  tone = 'plain',
  name,
  value,
  disabled,
  children,
}: {
  tone?: ButtonTone;
  name?: string;
  value?: string;
  disabled?: boolean;
  children: ComponentChildren;
}) {
  return (
    <button class={tone} name={name} value={value} disabled={disabled}>
      {children}
    </button>
  );
}

/** How the fields of a form stand: one below the other, side by side as a filter, or as they come. */
export type FormKind = 'stack' | 'filter' | 'plain';

/** A form of several fields. With `method="get"` it filters, and needs no token; `needs` hides it from those who may not send it. */
export function Form({
  to,
  method = 'post',
  kind = 'plain',
  needs,
  id,
  children,
}: {
  to: string;
  method?: 'get' | 'post';
  kind?: FormKind;
  needs?: Role;
  id?: string;
  children: ComponentChildren;
}) {
  const { path, may } = useView();
  if (needs !== undefined && !may(needs)) return null;
  return (
    <form method={method} action={path(to)} id={id} class={kind === 'plain' ? undefined : kind}>
      {method === 'post' && <CsrfField />}
      {children}
    </form>
  );
}

/** What an action needs. */
export interface ActionParts {
  /** Where it posts to, within the dashboard. */
  to: string;
  label: string;
  /** Hidden fields. */
  fields?: Readonly<Record<string, string | number>>;
  tone?: ButtonTone;
  /** Who may: others do not see it. Default `operator`. The route asks for it as well, with needs(). */
  needs?: Role;
  /** A question that a second button answers; for what cannot be taken back. */
  confirm?: string;
}

/**
 * One action as a button that posts.
 *
 * @example
 * <ActionForm to={`/fleet/queues/${encodeURIComponent(name)}/pause`} label="Pause" />
 * <ActionForm to="/dead-letters/discard" fields={{ id }} label="Discard" tone="danger" confirm="Discard it for good?" />
 */
export function ActionForm({ to, label, fields = {}, tone = 'plain', needs = 'operator', confirm }: ActionParts) {
  const hidden = Object.entries(fields).map(([name, value]) => (
    <input key={name} type="hidden" name={name} value={value} />
  ));
  const { may } = useView();
  if (!may(needs)) return null;
  if (confirm === undefined)
    return (
      <Form to={to}>
        {hidden}
        <Button tone={tone}>{label}</Button>
      </Form>
    );
  return (
    <details class="confirm">
      <summary class={`button ${tone}`}>{label}</summary>
      <Form to={to}>
        {hidden}
        <p>{confirm}</p>
        <Button tone={tone}>{label}</Button>
      </Form>
    </details>
  );
}

interface FieldParts {
  label: string;
  name: string;
  /** A sentence below. */
  hint?: string | undefined;
  /** Why what was sent is refused. */
  error?: string | undefined;
  required?: boolean;
}

/** An input with its label. `type` as HTML has it. */
export function Field({
  type = 'text',
  value,
  checked,
  placeholder,
  autocomplete,
  min,
  max,
  step,
  ...parts
}: FieldParts & {
  type?: 'text' | 'search' | 'number' | 'password' | 'datetime-local' | 'checkbox' | 'url' | 'email';
  value?: string | number | undefined;
  checked?: boolean;
  placeholder?: string;
  autocomplete?: 'username' | 'current-password' | 'off';
  min?: number | string;
  max?: number | string;
  step?: number | 'any';
}) {
  // The types of preact tell apart what each type may have; all of these have the same.
  const typed: { type: 'text' } = { type: type as 'text' };
  const input = (
    <input
      {...attributesOf(parts)}
      {...typed}
      value={value}
      checked={checked}
      placeholder={placeholder}
      autocomplete={autocomplete}
      min={min}
      max={max}
      step={step}
    />
  );
  return (
    <Labelled {...parts} isInline={type === 'checkbox'}>
      {input}
    </Labelled>
  );
}

/** A choice of one. `options` are values, or values with their texts. */
export function Select({
  options,
  value,
  ...parts
}: FieldParts & { options: ReadonlyArray<string | { value: string; text: string }>; value?: string | undefined }) {
  return (
    <Labelled {...parts}>
      <select {...attributesOf(parts)}>
        {options.map((option) => {
          const { value: own, text } = typeof option === 'string' ? { value: option, text: option } : option;
          return (
            <option key={own} value={own} selected={own === value}>
              {text}
            </option>
          );
        })}
      </select>
    </Labelled>
  );
}

/** A text of several lines. */
export function Textarea({
  value = '',
  rows = 8,
  isCode = false,
  ...parts
}: FieldParts & { value?: string; rows?: number; isCode?: boolean }) {
  return (
    <Labelled {...parts}>
      <textarea {...attributesOf(parts)} rows={rows} class={isCode ? 'code' : undefined} spellcheck={!isCode}>
        {`\n${value}`}
      </textarea>
    </Labelled>
  );
}

function attributesOf({ name, required, hint, error }: FieldParts) {
  const described = [hint === undefined ? '' : `hint-${name}`, error === undefined ? '' : `error-${name}`]
    .filter((id) => id !== '')
    .join(' ');
  return {
    id: `field-${name}`,
    name,
    required,
    'aria-describedby': described === '' ? undefined : described,
    'aria-invalid': error === undefined ? undefined : true,
  };
}

function Labelled({
  label,
  name,
  hint,
  error,
  isInline = false,
  children,
}: FieldParts & { isInline?: boolean; children: ComponentChildren }) {
  return (
    <div class={isInline ? 'field inline' : 'field'}>
      <label for={`field-${name}`}>{label}</label>
      {children}
      {hint !== undefined && (
        <p class="hint" id={`hint-${name}`}>
          {hint}
        </p>
      )}
      {error !== undefined && (
        <p class="error" id={`error-${name}`}>
          {error}
        </p>
      )}
    </div>
  );
}
