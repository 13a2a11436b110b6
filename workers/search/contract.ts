/** The contracts of `search.index-document` and `search.rebuild`, and the flow that rebuilds an index. */
import { defineJob, flow, type Flow, type FlowOptions, type JobContract } from 'millrace';
import { z } from 'zod';
import { checkQueues, contractIn, type QueuesOption } from '../queues.ts';

const indexField = z.string().regex(/^[\w.-]{1,128}$/, 'expected 1 to 128 letters, digits and _ . -');
const idField = z.string().min(1).max(512);

// search.index-document

/** Input of `search.index-document`: one document of one index. */
export interface IndexDocumentInput {
  /** As the handler's options name it. */
  index: string;
  id: string;
  /** What is searched. Default: what the handler's `load` gives, and then no `metadata` here; where that gives nothing, the document is removed. */
  text?: string | undefined;
  /** In the fields of the index' schema. */
  metadata?: Record<string, unknown> | undefined;
  /** Take it out of the index instead. */
  remove?: boolean | undefined;
}

/** What `search.index-document` gives to those who wait. */
export interface IndexDocumentResult {
  /** `absent`: it was to be removed, and was not there. */
  status: 'added' | 'updated' | 'unchanged' | 'removed' | 'absent';
  /** Chunks whose vector was asked of the embedder. */
  embedded: number;
}

const documentSchema = z
  .strictObject({
    index: indexField,
    id: idField,
    text: z.string().min(1).optional(),
    metadata: z.record(z.string(), z.unknown()).optional(),
    remove: z.boolean().optional(),
  })
  .superRefine(({ text, metadata, remove }, context) => {
    const refuse = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
    if (remove === true && text !== undefined) refuse('text', 'expected none of what is removed');
    if (text === undefined && metadata !== undefined) refuse('metadata', 'expected a text beside it');
  });

/** What the handler of `search.index-document` gets. */
export type ParsedIndexDocument = z.output<typeof documentSchema>;

/**
 * Makes a document found as it is now: cut, embedded and written, or taken out.
 *
 * Tried 13 times in about two hours; waits for the embedder's limit use up none of them. Without a text, the job indexes what is there when it runs, so jobs of one document may come in any order.
 *
 * @example
 * await platform.jobs.enqueue(searchIndexDocument, { index: 'help', id: 'faq-7' });
 * await platform.jobs.enqueue(searchIndexDocument, { index: 'help', id: 'faq-7', text: 'How to reset ...', metadata: { lang: 'en' } });
 */
export const searchIndexDocument: JobContract<IndexDocumentInput, ParsedIndexDocument, IndexDocumentResult> = defineJob(
  {
    name: 'search.index-document',
    input: documentSchema,
    output: z.object({
      status: z.enum(['added', 'updated', 'unchanged', 'removed', 'absent']),
      embedded: z.number(),
    }),
    attempts: 13,
    backoff: { type: 'exponential', delay: '5s', max: '30m', jitter: 0.3 },
    timeout: '10m',
  },
);

// search.rebuild

/** A document that could not be indexed. */
export interface RefusedDocument {
  id: string;
  reason: string;
}

/** Input of `search.rebuild-part`: a share of an index' documents. Made by rebuildFlow(). */
export interface RebuildPartInput {
  index: string;
  /** From 0 on. */
  part: number;
  parts: number;
}

/** What `search.rebuild-part` gives to its parent. */
export interface RebuildPartResult {
  /** Of this share. */
  documents: number;
  /** Texts that the embedder was asked for. */
  embedded: number;
  /** Whether they were written, as the index has the form that the options say; else their vectors are kept for the parent. */
  written: boolean;
  /** How many could not be. */
  refused: number;
  /** The first of them. */
  examples: RefusedDocument[];
}

const refusedSchema = z.array(z.object({ id: z.string(), reason: z.string() }));
const partSchema = z
  .strictObject({ index: indexField, part: z.int().min(0), parts: z.int().min(1).max(256) })
  .refine(({ part, parts }) => part < parts, { path: ['part'], error: 'expected less than parts' });

/** What the handler of `search.rebuild-part` gets. */
export type ParsedRebuildPart = z.output<typeof partSchema>;

/** Parts are long, so they have a queue of their own, and hold up no document. */
const QUEUE = 'search.rebuild';

/** The children of a rebuild: each prepares its share of the documents. */
export const searchRebuildPart: JobContract<RebuildPartInput, ParsedRebuildPart, RebuildPartResult> = defineJob({
  name: 'search.rebuild-part',
  queue: QUEUE,
  input: partSchema,
  output: z.object({
    documents: z.number(),
    embedded: z.number(),
    written: z.boolean(),
    refused: z.number(),
    examples: refusedSchema,
  }),
  attempts: 10,
  backoff: { type: 'exponential', delay: '5s', max: '10m', jitter: 0.3 },
  timeout: '6h',
});

/** Input of `search.rebuild`. */
export interface RebuildInput {
  index: string;
  /** Let the new version take over also when parts have failed. Default false: then the former one is used on, and the job is a dead letter. */
  despiteFailures?: boolean | undefined;
}

/** What `search.rebuild` gives to those who wait. */
export interface RebuildResult {
  /** The version that is used now. */
  version: number;
  /** How many the index has. */
  documents: number;
  /** Texts that the embedder was asked for, by the parts and by the parent. */
  embedded: number;
  /** How many documents could not be indexed. */
  refused: number;
  /** The first of them. */
  examples: RefusedDocument[];
  /** Why parts have failed, where that was allowed. */
  failures: string[];
}

const rebuildSchema = z.strictObject({ index: indexField, despiteFailures: z.boolean().default(false) });

/** What the handler of `search.rebuild` gets. */
export type ParsedRebuild = z.output<typeof rebuildSchema>;

/** Lets a new version of an index take over. Enqueue it by rebuildFlow(), or alone for a small index: then it does all of it. */
export const searchRebuild: JobContract<RebuildInput, ParsedRebuild, RebuildResult> = defineJob({
  name: 'search.rebuild',
  queue: QUEUE,
  input: rebuildSchema,
  output: z.object({
    version: z.number(),
    documents: z.number(),
    embedded: z.number(),
    refused: z.number(),
    examples: refusedSchema,
    failures: z.array(z.string()),
  }),
  attempts: 10,
  backoff: { type: 'exponential', delay: '10s', max: '10m', jitter: 0.3 },
  timeout: '12h',
});

/** Which index to rebuild, and how. */
export interface RebuildFlowOptions extends RebuildInput, QueuesOption, Pick<FlowOptions, 'delay' | 'priority'> {
  /** How many children share the documents, 1 to 256. Default 8. */
  parts?: number | undefined;
}

/**
 * The flow that builds an index anew: children prepare the documents, on all workers; then the parent lets the new version take over.
 *
 * @example
 * const { id } = await platform.jobs.enqueueFlow(rebuildFlow({ index: 'help', parts: 16 }));
 * @throws MillraceError OPTIONS_INVALID
 */
export function rebuildFlow({
  index,
  despiteFailures,
  parts = 8,
  queues: named,
  ...options
}: RebuildFlowOptions): Flow {
  const queues = checkQueues({ queues: named }, 'rebuildFlow');
  const child = contractIn(queues, searchRebuildPart);
  const children = Array.from({ length: parts }, (_none, part) =>
    flow(child, { index, part, parts }, { ...options, onFailure: 'run-parent' }),
  );
  const { priority } = options;
  const input = { index, ...(despiteFailures !== undefined && { despiteFailures }) };
  return flow(contractIn(queues, searchRebuild), input, { ...(priority !== undefined && { priority }), children });
}
