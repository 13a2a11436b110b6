/**
 * Who asked for which topics, found by the segments of a message's topic in as many steps as it has segments, however many ask.
 *
 * Wildcards are matched here and not by Redis: PSUBSCRIBE would cost the server a comparison with each pattern of each client for each
 * message, and a Cluster has no sharded form of it.
 */
import { ANY, REST } from './topic.ts';

class Node<T> {
  readonly next = new Map<string, Node<T>>();
  readonly here = new Set<T>();

  get isEmpty(): boolean {
    return this.next.size === 0 && this.here.size === 0;
  }
}

/** Things by patterns. */
export class TopicTrie<T> {
  readonly #root = new Node<T>();

  add(pattern: readonly string[], item: T): void {
    let node = this.#root;
    for (const segment of pattern) {
      let next = node.next.get(segment);
      if (!next) {
        next = new Node<T>();
        node.next.set(segment, next);
      }
      node = next;
    }
    node.here.add(item);
  }

  remove(pattern: readonly string[], item: T): void {
    const path = [this.#root];
    for (const segment of pattern) {
      const next = path.at(-1)?.next.get(segment);
      if (!next) return;
      path.push(next);
    }
    path.at(-1)?.here.delete(item);
    // What leads nowhere any more goes: there may have been a pattern for each user.
    for (let depth = pattern.length; depth > 0 && path[depth]?.isEmpty; depth--) {
      path[depth - 1]?.next.delete(pattern[depth - 1] ?? '');
    }
  }

  get isEmpty(): boolean {
    return this.#root.isEmpty;
  }

  /** All that asked for it. */
  match(segments: readonly string[]): T[] {
    const found: T[] = [];
    collect(this.#root, segments, 0, found);
    return found;
  }
}

function collect<T>(node: Node<T>, segments: readonly string[], depth: number, found: T[]): void {
  const segment = segments[depth];
  if (segment === undefined) return void found.push(...node.here);
  const rest = node.next.get(REST);
  if (rest) found.push(...rest.here);
  const any = node.next.get(ANY);
  if (any) collect(any, segments, depth + 1, found);
  const exact = node.next.get(segment);
  if (exact) collect(exact, segments, depth + 1, found);
}
