/** Bad input: told at the edge, with its name, before anything is sent. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createPresence } from '../../../src/pubsub/presence/presence.ts';
import { failureOf } from '../../support/failures.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { ownedPresence } from './own-presence.ts';

const presenceOf = ownedPresence();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const fresh = (): ReturnType<typeof createPresence> => presenceOf({ url: server.url }).presence;

describe('options', () => {
  test.each<[string, object, RegExp]>([
    ['unknown', { ttll: '30s' }, /unknown option ttll, did you mean ttl\?/],
    ['a lease without a unit', { ttl: '30' }, /ttl: expected/],
    ['too short a lease', { ttl: 50 }, /ttl: expected a duration of 100 ms to 1 d, got 50/],
    ['too long a lease', { ttl: '2d' }, /ttl/],
    ['a negative debounce', { debounce: -1 }, /debounce/],
    ['too long a debounce', { debounce: '1h' }, /debounce: expected a duration of 10 min at most/],
    ['no sweep', { sweep: 0 }, /sweep/],
    ['no deadline', { deadline: 0 }, /deadline/],
    ['too large a state', { maxStateBytes: 2_000_000 }, /maxStateBytes/],
    ['a room for nobody', { maxMembers: 0 }, /maxMembers: expected/],
    ['a room for everybody', { maxMembers: Infinity }, /maxMembers/],
    ['updates that wait for ever', { updateEvery: Infinity }, /updateEvery/],
    ['a prefix with braces', { prefix: '{a}' }, /prefix/],
  ])('%s', (_name, options, message) => {
    const { connections } = presenceOf({ url: server.url });
    expect(() => createPresence(connections, options)).toThrow(message);
  });

  test.each<[string, unknown, unknown, RegExp]>([
    ['an empty room', '', {}, /presence.room: room: expected at least 1 character/],
    ['a room that is no text', 7, {}, /room: expected string, got 7/],
    ['too long a name', 'x'.repeat(257), {}, /room: expected at most 256 characters/],
    ['half a character', 'doc-\uD800', {}, /surrogate/],
    ['an option of presence', 'a', { sweep: 100 }, /room a: unknown option sweep/],
    ['too short a lease', 'a', { ttl: '1ms' }, /room a: ttl: expected a duration of 100 ms to 1 d/],
    ['a debounce of another kind', 'a', { debounce: true }, /room a: debounce/],
    ['a schema that is none', 'a', { schema: {} }, /room a: schema: expected a schema/],
  ])('of a room: %s', (_name, name, options, message) => {
    expect(() => fresh().room(name as string, options as object)).toThrow(message);
  });

  test.each<[string, object, RegExp]>([
    ['nobody', {}, /room a: enter: userId: expected string/],
    ['an empty user', { userId: '' }, /userId: expected at least 1 character/],
    ['too long a user', { userId: 'x'.repeat(257) }, /userId/],
    ['half a character', { userId: '\uDC00' }, /userId/],
    ['a connection with a space', { userId: 'ada', connectionId: 'a b' }, /connectionId/],
    ['an empty connection', { userId: 'ada', connectionId: '' }, /connectionId/],
    ['something unknown', { userId: 'ada', conectionId: 'a' }, /did you mean connectionId/],
  ])('of an enter: %s', async (_name, options, message) => {
    const error = await failureOf(
      fresh()
        .room('a')
        .enter(options as { userId: string }),
      'OPTIONS_INVALID',
    );
    expect(error.message).toMatch(message);
  });

  test('of a leave, of whereIs', async () => {
    const presence = fresh();
    const me = await presence.room('a').enter({ userId: 'ada' });
    expect(() => me.leave({ debounce: 'soon' as never })).toThrow(/room a: leave: debounce/);
    await failureOf(presence.whereIs(''), 'OPTIONS_INVALID');
    await failureOf(presence.whereIs('ada', { limit: 0 }), 'OPTIONS_INVALID');
    await failureOf(presence.whereIs('ada', { limit: 1_001 }), 'OPTIONS_INVALID');
  });
});

describe('states', () => {
  const circle: Record<string, unknown> = {};
  circle['self'] = circle;

  test.each<[string, unknown]>([
    ['text', 'here'],
    ['null', null],
    ['a list', [1]],
    ['a function', () => 1],
    ['a bigint', { x: 1n }],
    ['itself', circle],
    ['an object that becomes text', new Date(0)],
  ])('%s is no state', async (_name, state) => {
    const room = fresh().room('states');
    await failureOf(room.enter({ userId: 'ada', state: state as never }), 'INPUT_INVALID');
    const me = await room.enter({ userId: 'bob', state: { x: 1 } });
    await failureOf(me.update({ x: 2, inner: 1n }), 'INPUT_INVALID');
    expect(me.state).toEqual({ x: 1 });
    await me.update({ x: 2 });
    await me.leave({ debounce: 0 });
  });

  test('a patch that is no object is refused', async () => {
    const me = await fresh().room('patch').enter({ userId: 'ada' });
    for (const patch of ['x', null, [1], 7, undefined]) await failureOf(me.update(patch as never), 'INPUT_INVALID');
  });

  test('too large a state is refused before it is sent, and the one before stays', async () => {
    const room = fresh().room('large', { maxStateBytes: 100 });
    const large = { text: 'é'.repeat(50) };
    const error = await failureOf(room.enter({ userId: 'ada', state: large }), 'PAYLOAD_TOO_LARGE');
    expect(error.facts).toMatchObject({ sizeBytes: 111, maxBytes: 100 });
    const me = await room.enter({ userId: 'ada', state: { x: 1 } });
    await failureOf(me.update(large), 'PAYLOAD_TOO_LARGE');
    expect((await room.members()).members).toMatchObject([{ state: { x: 1 } }]);
  });

  test('a schema refuses what does not match, with the path', async () => {
    const room = fresh().room('schema', { schema: z.object({ cursor: z.number() }) });
    const error = await failureOf(room.enter({ userId: 'ada', state: { cursor: 'x' } as never }), 'INPUT_INVALID');
    expect(error.message).toMatch(/the state of ada in room schema does not match its schema: cursor/);
    const me = await room.enter({ userId: 'ada', state: { cursor: 1 } });
    await failureOf(me.update({ cursor: undefined }), 'INPUT_INVALID');
    expect(me.state).toEqual({ cursor: 1 });
  });
});
