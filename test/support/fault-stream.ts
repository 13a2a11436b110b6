/** The stream of the fault tests, whose entries tell their handler what to do. */
import { z } from 'zod';
import type { RedisOptions } from '../../src/redis/address.ts';
import { defineStream } from '../../src/streams/contract.ts';

export const faultStream = defineStream({
  name: 's',
  schema: z.object({ n: z.number(), key: z.string(), act: z.enum(['work', 'fail', 'die', 'hang']) }),
});

/** What a process that consumes it is told. */
export interface StreamProcess {
  redis: RedisOptions;
  journal: string;
  prefix: string;
  /** Whether entries of one key are worked on in order. */
  isOrdered: boolean;
  attempts: number;
  lease: `${number}ms`;
  timeout: `${number}ms`;
}
