/** The scripts of rate limits, bound to names. */
import { defineScript, type ScriptClient } from '../redis/script.ts';
import type { Bucket } from './policies.ts';

/** What consume.lua says of one call: {now in us, us until the block ends}, then of each policy {fits, left, retry us, reset us}. */
export type Decision = readonly number[];

/** Where a policy's four numbers begin in a decision. */
export const FIRST_POLICY = 2;
export const NUMBERS_A_POLICY = 4;

/** Decides on a call, and takes its cost. */
export const consumeScript = defineScript({
  file: 'rate-limit/consume.lua',
  keys: ['block', '...states'],
  args: ['plan', 'cost', 'call'],
  reply: (decision: number[]): Decision => decision,
});

/** The same, and faster, for a plan with a `bucket`. */
export const consumeGcraScript = defineScript({
  file: 'rate-limit/consume-gcra.lua',
  keys: ['state'],
  args: ['full', 'need'],
  reply: (decision: BucketDecision): BucketDecision => decision,
});

/** What consume-gcra.lua says: ns until the bucket is full, of a call that passes; else {now in us, us until the block ends, those ns}. */
export type BucketDecision = number | readonly [nowUs: number, blockedUs: number, debtNs: number];

/**
 * The same call, laid out by hand: this is what every request of an app waits for, and checking its arguments would take longer than
 * anything else that is ours. To a server that does not know the script, teachBucket() sends it.
 */
export function askBucket(client: ScriptClient, state: string, bucket: Bucket, cost: number): Promise<BucketDecision> {
  const need = cost === 1 ? bucket.interval : `${bucket.intervalNs * cost}`;
  return client.evalsha(consumeGcraScript.sha, '1', state, bucket.full, need) as Promise<BucketDecision>;
}

/** As askBucket(), with the script's text where the server needs it. */
export function teachBucket(
  client: ScriptClient,
  state: string,
  bucket: Bucket,
  cost: number,
): Promise<BucketDecision> {
  return consumeGcraScript(client, { state }, { full: bucket.full, need: `${bucket.intervalNs * cost}` });
}

/** Gives back what a call took. */
export const refundScript = defineScript({
  file: 'rate-limit/refund.lua',
  keys: ['...states'],
  args: ['plan', 'cost', 'channel', 'message'],
  reply: (given: number) => given,
});

/** Blocks a key. */
export const blockScript = defineScript({
  file: 'rate-limit/block.lua',
  keys: ['block'],
  args: ['ms', 'atLeast', 'channel', 'message'],
  reply: (done: number) => done,
});

/** Removes a block, states, or both. */
export const forgetScript = defineScript({
  file: 'rate-limit/forget.lua',
  keys: ['...kept'],
  args: ['channel', 'message'],
  reply: (count: number) => count,
});

/** Changes a policy for all processes. */
export const setPolicyScript = defineScript({
  file: 'rate-limit/set-policy.lua',
  keys: ['changes'],
  args: ['name', 'change', 'channel', 'message'],
  reply: (done: number) => done,
});
