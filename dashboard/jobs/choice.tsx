/** One name of many in a filter: a list to choose from, and beyond so many a text, so that a page does not grow with the installation. */
import { Field, Select } from '../view/components.tsx';

const MOST_CHOICES = 200;

export function Choice({
  label,
  name,
  value,
  choices,
  none = 'Any',
  hint,
}: {
  label: string;
  name: string;
  value: string;
  choices: readonly string[];
  /** What no name means. */
  none?: string;
  hint?: string;
}) {
  if (choices.length > MOST_CHOICES) return <Field label={label} name={name} type="search" value={value} hint={hint} />;
  return <Select label={label} name={name} value={value} options={[{ value: '', text: none }, ...choices]} />;
}
