/** What tabs are given of the snapshots of a process, whatever browsers do with them. */
import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import type { Request, Response } from 'express';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Hub } from '../../dashboard/live/hub.ts';
import type { Snapshot } from '../../dashboard/live/snapshot.ts';
import { createLogger } from '../../src/index.ts';
import { eventually } from '../support/eventually.ts';
import { openTab } from './event-tab.ts';

const NOTHING = { waiting: 0, active: 0, delayed: 0, completed: 0, failed: 0, dead: 0 };

function snapshotOf(round: number, queues = 1, fence = 1): Snapshot {
  return {
    at: round,
    everyMs: 60_000,
    fence,
    round,
    counts: { queues, workers: 0, streams: 0 },
    totals: { ...NOTHING, waiting: round },
    queues: Array.from({ length: queues }, (_, place) => ({
      ...NOTHING,
      name: `queue-${place}-${'x'.repeat(80)}`,
      waiting: round,
      isPaused: false,
    })),
    workers: [],
    workerStates: { running: 0, draining: 0, silent: 0, active: 0 },
    streams: [],
  };
}

describe('the tabs of a process', () => {
  let server: Server;
  let hub: Hub;
  let isSignedIn = true;
  let asked = 0;
  const responses: Response[] = [];

  beforeEach(async () => {
    isSignedIn = true;
    asked = 0;
    responses.length = 0;
    hub = new Hub({
      log: createLogger({ level: 'silent' }),
      mostTabs: 25,
      async stillSignedIn() {
        asked += 1;
        return isSignedIn;
      },
      trouble: () => undefined,
      onLook: () => undefined,
    });
    server = createServer((request, response) => {
      // Of Express, a tab needs two methods.
      const express = Object.assign(response, {
        status: (code: number) => Object.assign(response, { statusCode: code }),
        set: (headers: Record<string, string>) => void response.setHeaders(new Map(Object.entries(headers))),
      }) as unknown as Response;
      responses.push(express);
      if (!hub.open(request as Request, express, request.headers['x-user'] === 'bob' ? 'bob' : 'ann'))
        response.writeHead(503).end();
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
  });
  afterEach(async () => {
    hub.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  const port = (): number => (server.address() as AddressInfo).port;
  const url = (): string => `http://127.0.0.1:${port()}`;
  const stranger = { cookies: new Map<string, string>() };

  test('a tab that does not read keeps nothing in memory but one message, and is given the newest when it reads again', async () => {
    const socket: Socket = connect(port(), '127.0.0.1');
    socket.write('GET /live/events HTTP/1.1\r\nhost: x\r\n\r\n');
    socket.pause();
    await eventually(() => expect(hub.tabs).toBe(1));
    const [response] = responses;
    let largest = 0;
    for (let round = 1; round <= 60; round += 1) {
      hub.take(snapshotOf(round, 200));
      largest = Math.max(largest, response?.writableLength ?? 0);
    }
    // One message has some 200 KB; all of them have twelve times what may be kept.
    expect(largest).toBeGreaterThan(0);
    expect(largest).toBeLessThan(1_000_000);
    let text = '';
    socket.on('data', (chunk) => (text = (text + chunk.toString()).slice(-400_000)));
    socket.resume();
    await eventually(() => expect(text).toContain('id: 1-60\n'));
    socket.destroy();
  });

  test('an older snapshot, and one of a collector that was replaced, changes nothing', async () => {
    hub.take(snapshotOf(5, 1, 2));
    hub.take(snapshotOf(4, 1, 2));
    hub.take(snapshotOf(9, 1, 1));
    expect(hub.latest?.round).toBe(5);
    hub.take(snapshotOf(1, 1, 3));
    expect(hub.latest?.fence).toBe(3);
  });

  test('a queue that is gone is told as gone', async () => {
    hub.take(snapshotOf(1, 2));
    const tab = await openTab(url(), stranger);
    await eventually(() => expect(tab.messages).toHaveLength(1));
    hub.take(snapshotOf(2, 1));
    await eventually(() => expect(tab.messages).toHaveLength(2));
    expect([...tab.cells.keys()].filter((name) => name.startsWith('queue:queue-1'))).toEqual([]);
    expect(tab.messages[1]?.cells[`queue:queue-1-${'x'.repeat(80)}:waiting`]).toBeNull();
    await tab.close();
  });

  test('of one user so many are open that there is room for others', async () => {
    const all = await Promise.all(Array.from({ length: 20 }, () => openTab(url(), stranger)));
    expect(new Set(all.map(({ status }) => status))).toEqual(new Set([200]));
    expect((await openTab(url(), stranger)).status).toBe(503);
    expect((await openTab(url(), stranger, { 'x-user': 'bob' })).status).toBe(200);
  });

  test('all tabs of a session are asked for once, and end when it does not hold any more', async () => {
    const browser = { cookies: new Map([['millrace-dashboard', 'token-1']]) };
    const all = await Promise.all([1, 2, 3].map(() => openTab(url(), browser)));
    await hub.recheck();
    expect([asked, hub.tabs]).toEqual([1, 3]);
    isSignedIn = false;
    await hub.recheck();
    await eventually(() => expect(all.map(({ events }) => events.at(-1))).toEqual(Array(3).fill('signed-out')));
    await eventually(() => expect(hub.tabs).toBe(0));
  });
});
