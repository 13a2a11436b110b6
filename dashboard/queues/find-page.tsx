/** All queues by name, where there are more than the board shows at once. */
import { useView } from '../view/context.ts';
import { Field, Form, Notice, Panel, Table } from '../view/components.tsx';

const MOST_FOUND = 500;

/** Names that have the text in them. */
export function FindQueue({ names, text }: { names: readonly string[]; text: string }) {
  const { path } = useView();
  const wanted = text.toLowerCase();
  const found = names.filter((name) => name.toLowerCase().includes(wanted));
  const shown = found.slice(0, MOST_FOUND);
  return (
    <>
      <Form to="/queues/find" method="get" kind="filter">
        <Field label="Name" name="text" value={text} placeholder="email" />
        <button>Find</button>
      </Form>
      <Panel title={`${found.length.toLocaleString('en-US')} of ${names.length.toLocaleString('en-US')} queues`}>
        {shown.length < found.length && <Notice>The first {MOST_FOUND} are listed, by name.</Notice>}
        <Table
          label="Queues"
          rows={shown}
          rowKey={(name) => name}
          empty={names.length === 0 ? 'No queue was used yet.' : 'No queue has this in its name.'}
          columns={[
            {
              head: 'Queue',
              isTitle: true,
              cell: (name) => <a href={path(`/queues/queue/${encodeURIComponent(name)}`)}>{name}</a>,
            },
          ]}
        />
      </Panel>
    </>
  );
}
