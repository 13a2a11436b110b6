/**
 * A small corpus of real text with questions and the document that answers each, to measure how well an embedder ranks.
 *
 * Origin: fables of Aesop, which are in the public domain, retold for this project; see `origin` in fables.json.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { embedAll, type Embedder } from '../../src/vector/embedder.ts';
import { dot, normalise } from '../../src/vector/vectors.ts';

/** One fable. */
export interface Fable {
  id: string;
  title: string;
  animals: string[];
  text: string;
}

/** A question, and the fable that answers it. */
export interface Question {
  /** `words`: it shares words with the answer. `meaning`: as few as can be, so that only a model of the language finds it. */
  by: 'words' | 'meaning';
  question: string;
  answer: string;
}

export const { documents, questions } = JSON.parse(
  readFileSync(fileURLToPath(new URL('fables.json', import.meta.url)), 'utf8'),
) as { origin: string; documents: Fable[]; questions: Question[] };

/** What an embedder reads of a fable. */
export function textOf({ title, text }: Fable): string {
  return `${title}\n\n${text}`;
}

/** How well answers are ranked. */
export interface Quality {
  /** Questions whose answer is first, among the first 5, among the first 10; from 0 to 1. */
  recallAt1: number;
  recallAt5: number;
  recallAt10: number;
  /** Mean reciprocal rank: 1 if every answer is first, 1/2 if every one is second. */
  mrr: number;
}

/** The questions of one kind. */
export function questionsBy(by: Question['by']): Question[] {
  return questions.filter((question) => question.by === by);
}

/** The quality of a ranking: for each of the questions the ids that were found, the best first. */
export function qualityOf(asked: readonly Question[], rankings: ReadonlyArray<readonly string[]>): Quality {
  const ranks = asked.map(({ answer }, at) => (rankings[at]?.indexOf(answer) ?? -1) + 1 || Number.POSITIVE_INFINITY);
  const share = (most: number): number => ranks.filter((rank) => rank <= most).length / ranks.length;
  const mrr = ranks.reduce((sum, rank) => sum + 1 / rank, 0) / ranks.length;
  return { recallAt1: share(1), recallAt5: share(5), recallAt10: share(10), mrr };
}

/** How well the embedder alone ranks the corpus, by exact search. */
export async function measure(embedder: Embedder, asked: readonly Question[]): Promise<Quality> {
  const texts = asked.map(({ question }) => question);
  const stored = (await embedAll(embedder, documents.map(textOf), { kind: 'document' })).map(normalise);
  const queries = (await embedAll(embedder, texts, { kind: 'query' })).map(normalise);
  const rankings = queries.map((query) =>
    documents
      .map(({ id }, at) => ({ id, score: dot(query, stored[at] ?? query) }))
      .toSorted((left, right) => right.score - left.score)
      .map(({ id }) => id),
  );
  return qualityOf(asked, rankings);
}
