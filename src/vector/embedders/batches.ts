/** Which texts are asked for together. */

interface Size {
  readonly maxBatch: number;
  readonly maxBatchTokens: number;
  countTokens(this: void, text: string): number;
}

/** The places of the texts, batch by batch, in their order. A text that is too long for any batch is one by itself. */
export function batchesOf(texts: readonly string[], { maxBatch, maxBatchTokens, countTokens }: Size): number[][] {
  const batches: number[][] = [];
  let batch: number[] = [];
  let tokens = 0;
  texts.forEach((text, place) => {
    const more = countTokens(text);
    if (batch.length > 0 && (batch.length >= maxBatch || tokens + more > maxBatchTokens)) {
      batches.push(batch);
      batch = [];
      tokens = 0;
    }
    batch.push(place);
    tokens += more;
  });
  if (batch.length > 0) batches.push(batch);
  return batches;
}
