/**
 * What a browser is shown of a job in Bull Board's form: secrets hidden as view/secrets.ts says, large values cut.
 */
import type { QueueJobJson } from '@bull-board/api/typings/app';
import { hideSecrets, maskSecrets } from 'millrace';

/** Characters that are shown of a value: of a job alone, and of each of a list. */
export const SHOWN = { alone: 64 * 1_024, inList: 16 * 1_024 } as const;

/** Bull Board's form of a job, as a browser may see it. */
export function shownJob(job: QueueJobJson, secrets: readonly string[], most: number): QueueJobJson {
  const hide = hideSecrets(job.data, secrets);
  const show = (value: unknown): unknown => cutValue(hide(maskSecrets(value, secrets)), most);
  // What the children of an earlier life had returned: whose secrets are in it is not known.
  const { children: _children, ...opts } = job.opts as Record<string, unknown>;
  return {
    ...job,
    data: show(job.data),
    returnvalue: show(job.returnvalue),
    progress: show(job.progress) as QueueJobJson['progress'],
    opts: show(opts),
    failedReason: show(job.failedReason) as string,
    stacktrace: show(job.stacktrace?.map(withoutFacts) ?? null) as string[] | null,
    ...(job.deduplicationId !== undefined && { deduplicationId: hide(job.deduplicationId) }),
  };
}

function isTree(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

/** The value with about so many characters of it, and notes where something is left out. */
export function cutValue(value: unknown, most: number): unknown {
  let left = most;
  const cut = (inner: unknown): unknown => {
    if (typeof inner === 'string') {
      const kept = inner.slice(0, Math.max(left, 0));
      left -= inner.length;
      return kept.length === inner.length ? inner : `${kept}… [cut: ${count(inner.length)} characters in all]`;
    }
    left -= 8;
    if (Array.isArray(inner)) {
      const items: unknown[] = [];
      for (const item of inner as unknown[]) {
        if (left <= 0) return [...items, `… [cut: ${count(inner.length)} items in all]`];
        items.push(cut(item));
      }
      return items;
    }
    if (!isTree(inner)) return inner;
    const fields: Array<[string, unknown]> = [];
    const all = Object.entries(inner);
    for (const [key, field] of all) {
      if (left <= 0) return Object.fromEntries([...fields, ['…', `[cut: ${count(all.length)} fields in all]`]]);
      left -= key.length;
      fields.push([key.slice(0, most), cut(field)]);
    }
    return Object.fromEntries(fields);
  };
  return cut(value);
}

function count(of: number): string {
  return of.toLocaleString('en-US');
}

/** The stack of an attempt, without the facts that Millrace keeps behind it for programs. */
function withoutFacts(trace: string): string {
  const at = trace.lastIndexOf('\n#attempt ');
  return at === -1 ? trace : trace.slice(0, at);
}
