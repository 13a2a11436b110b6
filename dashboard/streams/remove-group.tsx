/** Asks an admin whether a group shall really go, and says what goes with it. */
import type { StreamGroupInfo } from 'millrace';
import { segment } from '../fleet/links.ts';
import { Button, Count, Field, Form, Notice, Panel, Stat, Stats } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { Lag } from './figures.tsx';

export function RemoveGroup({ stream, group }: { stream: string; group: StreamGroupInfo }) {
  const { path } = useView();
  const { name, pending, deadLetters, consumers } = group;
  const present = consumers.filter(({ isGone }) => !isGone).length;
  const back = `/streams/${segment(stream)}`;
  return (
    <Panel title={`Remove the group ${name} of ${stream}?`}>
      <Stats>
        <Stat label="Entries it has not read">
          <Lag group={group} />
        </Stat>
        <Stat label="Entries it has not finished">
          <Count of={pending} />
        </Stat>
        <Stat label="Dead letters">
          <Count of={deadLetters} />
        </Stat>
        <Stat label="Consumers at work">
          <Count of={present} />
        </Stat>
      </Stats>
      <p>
        The group forgets how far it has come. Its dead letters are gone for good; entries that it has not finished are
        never given to it. The stream itself stays, and so do its other groups.
      </p>
      {present > 0 && (
        <Notice tone="bad">
          {present === 1 ? 'A consumer is' : `${present} consumers are`} at work. Stop the workers first: they would
          make the group again, by default from the oldest entry on.
        </Notice>
      )}
      <Form to={`${back}/remove-group`} kind="stack" needs="admin">
        <input type="hidden" name="group" value={name} />
        {loses(group) && (
          <Field type="checkbox" name="force" value="yes" label="Remove it though all of this is lost" required />
        )}
        <div class="actions">
          <Button tone="danger">Remove the group</Button>
          <a class="button" href={path(back)}>
            Leave it
          </a>
        </div>
      </Form>
    </Panel>
  );
}

/** Whether the API refuses to remove it unless it is forced. */
function loses({ lag, pending, deadLetters, consumers }: StreamGroupInfo): boolean {
  return lag + pending + deadLetters > 0 || consumers.some(({ isGone }) => !isGone);
}
