/** A tab: it follows /live/events with the cookies of a browser. */
import { get } from 'node:http';
import { eventually } from '../support/eventually.ts';
import type { Browser } from './support.ts';

export type Told = Readonly<Record<string, readonly [text: string, value?: number, tone?: string] | null>>;

export interface EventTab {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** All that came, as it came. */
  readonly text: string;
  /** The cells as they are now. */
  readonly cells: Map<string, readonly [text: string, value?: number, tone?: string]>;
  /** What each message of cells had; the first one has all. */
  readonly messages: Array<{ id: string; cells: Told; isWhole?: boolean }>;
  readonly statuses: Array<{ state: string; trouble?: string }>;
  readonly events: string[];
  readonly isEnded: boolean;
  close(): Promise<void>;
}

/** Opens a tab. Close it before the test ends. */
export async function openTab(
  url: string,
  browser: Pick<Browser, 'cookies'>,
  headers: Record<string, string> = {},
): Promise<EventTab> {
  const cookie = [...browser.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
  let isEnded = false;
  let text = '';
  let rest = '';
  const tab = { cells: new Map(), messages: [], statuses: [], events: [] } as unknown as EventTab;
  const request = get(`${url}/live/events`, {
    agent: false,
    headers: { accept: 'text/event-stream', ...(cookie !== '' && { cookie }), ...headers },
  });
  request.on('error', () => (isEnded = true));
  const response = await new Promise<Parameters<Parameters<typeof get>[2] & object>[0]>((resolve, reject) => {
    request.once('response', resolve);
    request.once('error', reject);
  });
  response.setEncoding('utf8');
  response.on('data', (chunk: string) => {
    text += chunk;
    rest += chunk;
    const blocks = rest.split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) read(tab, block);
  });
  response.on('close', () => (isEnded = true));
  response.on('error', () => (isEnded = true));
  return Object.defineProperties(tab, {
    status: { value: response.statusCode },
    headers: { value: response.headers },
    text: { get: () => text },
    isEnded: { get: () => isEnded },
    close: {
      value: async () => {
        request.destroy();
        await eventually(() => {
          if (!isEnded) throw new Error('still open');
        });
      },
    },
  });
}

function read(tab: EventTab, block: string): void {
  const fields = new Map(
    block
      .split('\n')
      .map((line): [string, string] => [line.split(': ', 1)[0] ?? '', line.slice(line.indexOf(': ') + 2)]),
  );
  const event = fields.get('event');
  if (event === undefined) return;
  tab.events.push(event);
  const data: unknown = JSON.parse(fields.get('data') ?? '{}');
  if (event === 'status') tab.statuses.push(data as { state: string });
  if (event !== 'cells') return;
  const message = data as { cells: Told; isWhole?: boolean };
  tab.messages.push({ ...message, id: fields.get('id') ?? '' });
  if (message.isWhole) tab.cells.clear();
  for (const [name, cell] of Object.entries(message.cells)) {
    if (cell) tab.cells.set(name, cell);
    else tab.cells.delete(name);
  }
}
