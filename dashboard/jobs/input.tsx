/** The input of a job, as its page and that of its dead letter show it. */
import { Json } from '../view/components.tsx';

/** Mask secrets before. */
export function Input({ value, hasSecrets }: { value: unknown; hasSecrets: boolean }) {
  return <Json label={hasSecrets ? 'Input, without what its contract calls secret' : 'Input'} value={value} />;
}
