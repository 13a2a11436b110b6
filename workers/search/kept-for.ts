/** Indexes that handlers make of a platform's vectors: one each, kept, for an index knows which version is used. */
import type { JobContext, VectorIndex, Vectors } from 'millrace';

/** A function that makes an index once for each name and platform. */
export function keptFor<Index = VectorIndex>(
  make: (name: string, context: JobContext) => Index,
): (name: string, context: JobContext) => Index {
  const kept = new WeakMap<Vectors, Map<string, Index>>();
  return (name, context) => {
    const ofPlatform = kept.get(context.vectors) ?? new Map<string, Index>();
    kept.set(context.vectors, ofPlatform);
    const index = ofPlatform.get(name) ?? make(name, context);
    ofPlatform.set(name, index);
    return index;
  };
}
