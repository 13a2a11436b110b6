/** What a stream's contract calls secret is quoted nowhere when data does not match its schema: not to publishers, nor in dead letters and logs. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import type { Schema } from '../../src/schema.ts';
import { consume } from '../../src/streams/consumer/consume.ts';
import { defineStream } from '../../src/streams/contract.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { add, groupKeys, ownedProcesses, QUICK } from './consumer/scene.ts';
import { createScene, failureOf } from './scene.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedByTest();
const processes = ownedProcesses(own);

interface Payment {
  card: { number: string };
  customer: string;
}

/** As some libraries do, it quotes what it refuses. */
const quoting: Schema<Payment> = {
  '~standard': {
    version: 1,
    vendor: 'quoting',
    validate: (value) => {
      const { card, customer } = value as Payment;
      const issues = [
        { path: ['card', 'number'], message: `no number of a card: ${JSON.stringify(card?.number)}` },
        { path: [{ key: 'customer' }], message: `nobody: ${customer}` },
      ];
      return { issues };
    },
  },
};
const paid = (name: string) => defineStream({ name, schema: quoting, secrets: ['card.number'] });
const bad = { card: { number: '4111-1111' }, customer: 'ann' };

test('a publisher hears the path and the type of it, and the rest as the schema tells it', async () => {
  const { streams } = createScene(own, { url: server.url });
  const contract = paid('paid');
  const failure = await failureOf(streams.publish(contract, bad));
  const said = JSON.stringify(failure) + failure.message;
  expect(said).toContain('card.number: refused by its schema: a string came, which is a secret');
  expect(said).toContain('customer: nobody: ann');
  expect(said).not.toContain('4111');
  const none = await failureOf(streams.publish(contract, { customer: 'ann' } as never));
  expect(none.message).toContain('card.number: refused by its schema: nothing came');
});

test('a dead letter and the log of its consumer tell no more', async () => {
  const keys = groupKeys('g', 'paid');
  const { connections, lines } = await processes([consume(paid('paid'), QUICK, () => undefined)], {
    redis: { url: server.url },
    keys,
  });
  await add(connections.commands() as never, keys, bad);
  const letters = await eventually(async () => {
    const found = await connections.commands().xrange(keys.dead, '-', '+');
    expect(found).toHaveLength(1);
    return found;
  });
  const { data, ...facts } = Object.fromEntries(pairsOf(letters[0]?.[1] ?? []));
  expect(data).toContain('4111'); // It is masked where it is shown, not encrypted.
  expect(JSON.stringify(facts)).toContain('a string came, which is a secret');
  expect(JSON.stringify([facts, lines.all()])).not.toContain('4111');
});

test('the contract takes paths as a job does, and its schema answers as it did', async () => {
  const schema = z.object({ card: z.object({ number: z.string().refine(async (text) => text.length > 3) }) });
  const contract = defineStream({ name: 'paid', schema, secrets: ['card.number', '*.number', 'card.number'] });
  expect(contract.secrets).toEqual(['card.number', '*.number']);
  expect(Object.isFrozen(contract.secrets)).toBe(true);
  expect(contract.schema['~standard']).toMatchObject({ vendor: 'zod', jsonSchema: {} });
  expect(await contract.schema['~standard'].validate({ card: { number: '4111' } })).toEqual({
    value: { card: { number: '4111' } },
  });
  expect(() => defineStream({ name: 'paid', schema, secrets: ['tok*'] })).toThrow(
    /secrets\[0\]: expected a path such as/,
  );
  expect(defineStream({ name: 'paid', schema }).schema).toBe(schema);
});

function pairsOf(flat: readonly string[]): Array<[string, string]> {
  return flat.flatMap((value, at): Array<[string, string]> => (at % 2 === 0 ? [[value, flat[at + 1] ?? '']] : []));
}
