/** What stands first on the page of a dead letter, be it of a job or of a stream: how it failed, what can be done with it, and its facts. */
import type { ComponentChildren } from 'preact';
import type { DeadLetter, StreamDeadLetter } from 'millrace';
import { ActionForm, Badge, Count, Panel, Time } from '../view/components.tsx';
import { Facts, type Fact } from '../view/facts.tsx';

/** What the head shows. */
export interface HeadParts {
  /** Without its secrets. */
  letter: DeadLetter | StreamDeadLetter;
  /** Where its actions are posted to, and with which fields. */
  to: string;
  fields: Readonly<Record<string, string>>;
  /** What only letters of this kind have. */
  facts: readonly Fact[];
  /** Further actions. */
  actions?: ComponentChildren;
  /** Below the facts. */
  children?: ComponentChildren;
}

export function LetterHead({ letter, to, fields, facts, actions, children }: HeadParts) {
  const { error, reason, diedAt, redriven } = letter;
  return (
    <Panel
      title={`${error.name}: ${error.message.slice(0, 1_000)}`}
      actions={
        <>
          <ActionForm to={`${to}/redrive`} fields={fields} label="Redrive" tone="primary" />
          {actions}
          <ActionForm
            to={`${to}/discard`}
            fields={fields}
            label="Discard"
            tone="danger"
            confirm="Remove it for good? This cannot be taken back."
          />
        </>
      }
    >
      <Facts
        of={[
          ...facts,
          ['Reason', <Badge tone="failed">{reason}</Badge>],
          ['Died', <Time at={diedAt} />],
          ['Redriven before', <Count of={redriven} />],
        ]}
      />
      {children}
    </Panel>
  );
}
