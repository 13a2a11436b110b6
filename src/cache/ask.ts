/** What one getOrSet() asks for: passed along from the call to the load. */
import type { LoadCall } from './options.ts';
import type { Loader } from './run-loader.ts';
import type { SharedState } from './shared-state.ts';

/** A key, how to load it, and how to treat it. */
export interface Ask {
  readonly state: SharedState;
  readonly key: string;
  /** hashOf() the key, which is needed more than once. */
  readonly hash: number;
  readonly loader: Loader<unknown>;
  readonly call: LoadCall;
  readonly readTtl: (ttl: unknown) => number;
}
