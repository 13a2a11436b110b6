/** A dead letter of a store, and how its error is kept. */

/** A change that will not be tried again by itself. A key has one at most: a newer change of the key takes its place. */
export interface StoreDeadLetter<T> {
  readonly id: string;
  readonly key: string;
  readonly kind: 'set' | 'remove';
  /** The value; undefined for a removal. */
  readonly value: T | undefined;
  /** The version that the store was offered last. */
  readonly version: number;
  /** How often it was tried. */
  readonly attempts: number;
  /** How often it was a dead letter before. */
  readonly redriven: number;
  readonly acceptedAt: Date;
  readonly diedAt: Date;
  readonly error: LetterError;
}

/** What the store threw last. */
export interface LetterError {
  readonly name: string;
  readonly message: string;
  readonly code?: string | undefined;
  readonly stack?: string | undefined;
}

const LONGEST_MESSAGE = 2_000;
const LONGEST_STACK = 4_000;

/** The error as JSON, cut to a bounded size. */
export function letterError(error: unknown): string {
  if (!(error instanceof Error))
    return JSON.stringify({ name: 'Error', message: describe(error) } satisfies LetterError);
  const { code } = error as { code?: unknown };
  const kept: LetterError = {
    name: error.name,
    message: error.message.slice(0, LONGEST_MESSAGE),
    ...(typeof code === 'string' || typeof code === 'number' ? { code: String(code) } : undefined),
    ...(error.stack !== undefined && { stack: error.stack.slice(0, LONGEST_STACK) }),
  };
  return JSON.stringify(kept);
}

function describe(error: unknown): string {
  try {
    const text = typeof error === 'string' ? error : (JSON.stringify(error) ?? typeof error);
    return text.slice(0, LONGEST_MESSAGE);
  } catch {
    return 'an object that has no JSON form';
  }
}

/** An entry of the stream of dead letters. */
export function letterOf<T>([id, flat]: [string, string[]]): StoreDeadLetter<T> {
  const fields = new Map<string, string>();
  for (let at = 0; at < flat.length; at += 2) fields.set(flat[at] ?? '', flat[at + 1] ?? '');
  const field = (name: string): string => fields.get(name) ?? '';
  const kind = field('kind') === 'remove' ? 'remove' : 'set';
  return {
    id,
    key: field('key'),
    kind,
    value: kind === 'set' ? (JSON.parse(field('value')) as T) : undefined,
    version: Number(field('version')),
    attempts: Number(field('attempts')),
    redriven: Number(field('redriven')),
    acceptedAt: new Date(Number(field('accepted')) / 1_000),
    diedAt: new Date(Number.parseInt(id, 10)),
    error: JSON.parse(field('error')) as LetterError,
  };
}
