/** The ways to look at dead letters. */
import { Tabs } from '../view/components.tsx';

const TABS = [
  { to: '/dead-letters', text: 'Jobs' },
  { to: '/dead-letters/streams', text: 'Streams' },
  { to: '/dead-letters/operations', text: 'Operations' },
] as const;

export function LetterTabs({ active }: { active: (typeof TABS)[number]['to'] }) {
  return <Tabs label="Dead letters" tabs={TABS} active={active} />;
}
