/** The scripts of rate limits, bound to names. */
import { defineScript, explainScriptError, isNoScript, type ScriptClient } from '../redis/script.ts';

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

/** The same, and faster, for a plan with `gcra`. */
export const consumeGcraScript = defineScript({
  file: 'rate-limit/consume-gcra.lua',
  keys: ['state'],
  args: ['plan', 'cost'],
  reply: (decision: number[]): Decision => decision,
});

/**
 * The same call, laid out by hand: this is what every request of an app waits for, and checking its arguments would take longer than
 * anything else that is ours.
 */
export async function consumeGcra(client: ScriptClient, state: string, plan: string, cost: number): Promise<Decision> {
  try {
    return (await client.evalsha(consumeGcraScript.sha, '1', state, plan, cost === 1 ? '1' : `${cost}`)) as number[];
  } catch (error) {
    if (isNoScript(error)) return consumeGcraScript(client, { state }, { plan, cost });
    throw explainScriptError(error, consumeGcraScript.file, client);
  }
}

/** Gives back what a call took. */
export const refundScript = defineScript({
  file: 'rate-limit/refund.lua',
  keys: ['...states'],
  args: ['plan', 'cost', 'channel', 'message'],
  reply: (given: number) => given,
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
