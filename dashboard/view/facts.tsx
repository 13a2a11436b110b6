/** Facts under their names. */
import { Fragment, type ComponentChildren } from 'preact';

/** Its name, and what it says. */
export type Fact = readonly [name: string, says: ComponentChildren];

export function Facts({ of: facts }: { of: readonly Fact[] }) {
  return (
    <dl class="facts">
      {facts.map(([name, says]) => (
        <Fragment key={name}>
          <dt>{name}</dt>
          <dd>{says}</dd>
        </Fragment>
      ))}
    </dl>
  );
}
