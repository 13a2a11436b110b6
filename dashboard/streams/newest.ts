/** A look at the newest entries of a stream, bounded in their number and in what they weigh. */
import { createKeySpace, hideSecrets, type Platform } from 'millrace';
import { shownData } from '../view/secrets.ts';

/** An entry, as far as it is shown. */
export interface ShownEntry {
  readonly id: string;
  /** When it was published; undefined of events, whose ids are positions. */
  readonly at: number | undefined;
  /** Its data as it travelled, without its secrets, cut. Of an event: which one of which stream. */
  readonly text: string;
  readonly isCut: boolean;
  /** What else it has, by name. */
  readonly more: ReadonlyArray<readonly [name: string, value: string]>;
}

/** The newest entries, the newest first. */
export interface Newest {
  readonly entries: readonly ShownEntry[];
  /** There are more, but those that were read weigh enough. */
  readonly isHeavy: boolean;
}

const MOST = 20;
const STEP = 5;
const ENOUGH_CHARS = 1_000_000;
const LONGEST_TEXT = 500;
const LONGEST_VALUE = 100;
const MOST_FIELDS = 8;
const EVENTS = 'events:';

/** Reads them a few at a time, until there are enough. `secrets`: paths of what is secret in their data. @throws what Redis met */
export async function readNewest(
  { redis, prefix }: Platform,
  name: string,
  secrets: readonly string[],
): Promise<Newest> {
  const isEvents = name.startsWith(EVENTS);
  const key = isEvents
    ? createKeySpace(prefix, 'events')(name.slice(EVENTS.length), 'all')
    : createKeySpace(prefix, 'streams')(name, 'entries');
  const entries: ShownEntry[] = [];
  let chars = 0;
  let end = '+';
  while (entries.length < MOST) {
    if (chars > ENOUGH_CHARS) return { entries, isHeavy: true };
    const some = await redis.commands().xrevrange(key, end, '-', 'COUNT', STEP);
    for (const [id, fields] of some) {
      end = `(${id}`;
      chars += fields.reduce((all, field) => all + field.length, 0);
      entries.push(isEvents ? eventOf(id, fields) : entryOf(id, fields, secrets));
    }
    if (some.length < STEP) break;
  }
  return { entries, isHeavy: false };
}

function entryOf(id: string, flat: readonly string[], secrets: readonly string[]): ShownEntry {
  const fields = pairsOf(flat);
  const travelled = fields.find(([name]) => name === 'data')?.[1] ?? '';
  const { data, hide } = secrets.length === 0 ? { data: travelled, hide: asItIs } : withoutSecrets(travelled, secrets);
  const more = fields.filter(([name]) => name !== 'data').slice(0, MOST_FIELDS);
  return {
    id,
    at: Number.parseInt(id, 10),
    text: cut(data, LONGEST_TEXT),
    isCut: data.length > LONGEST_TEXT,
    more: more.map(([name, value]) => [cut(name, LONGEST_VALUE), cut(hide(value), LONGEST_VALUE)]),
  };
}

function asItIs(text: string): string {
  return text;
}

/** The data as JSON, and what hides its secrets where else they stand. */
function withoutSecrets(json: string, secrets: readonly string[]): { data: string; hide: (text: string) => string } {
  const value = parsedOr(json);
  const hide = hideSecrets(value, secrets);
  const shown = hide(shownData(value, secrets));
  return { data: typeof shown === 'string' ? shown : JSON.stringify(shown), hide };
}

/** The text itself where another tool has put what is no JSON. */
function parsedOr(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The list of all events has references only: the data stays with the stream of each. */
function eventOf(id: string, [, stream = '', , version = '', , type = '']: readonly string[]): ShownEntry {
  const text = `${cut(type, LONGEST_VALUE)}, version ${version} of ${cut(stream, LONGEST_VALUE)}`;
  return { id, at: undefined, text, isCut: false, more: [] };
}

function pairsOf(flat: readonly string[]): Array<[string, string]> {
  const pairs: Array<[string, string]> = [];
  for (let at = 0; at + 1 < flat.length; at += 2) pairs.push([flat[at] ?? '', flat[at + 1] ?? '']);
  return pairs;
}

function cut(text: string, longest: number): string {
  return text.length > longest ? `${text.slice(0, longest)}…` : text;
}
