/** What our layer over the client costs: a script's call against the client's own evalsha, and the start of the embedded Redis. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type * as ConnectModule from '../src/redis/connect.ts';
import type { ServerBinary } from '../src/redis/embedded/binary.ts';
import type * as ScriptModule from '../src/redis/script.ts';
import { importCompiled } from './support/compiled.ts';
import { benchBinary, pinned, startBenchServer } from './support/server.ts';
import { callsPerSecond, type Case } from './support/measure.ts';

const FILE = 'redis/probe.lua';
const TTL_MS = 60_000;

const { createConnections } = await importCompiled<typeof ConnectModule>('redis/connect.ts');
const { defineScript } = await importCompiled<typeof ScriptModule>('redis/script.ts');
const probe = defineScript({ file: FILE, keys: ['probe'], args: ['ttlMs'], reply: (nowUs: string) => nowUs });

/** The cases, and what must be closed after them. */
export async function prepare(): Promise<{ cases: Case[]; close: () => Promise<void> }> {
  const binary = await benchBinary();
  const server = await startBenchServer(pinned(binary));
  const connections = createConnections({ url: server.url });
  const ours = connections.commands();
  const raw = new Redis({ path: server.url.slice('unix://'.length) });
  const sha = (await raw.script('LOAD', readFileSync(new URL(`../lua/${FILE}`, import.meta.url)))) as string;
  const callOurs = (): Promise<string> => probe(ours, { probe: '{bench}' }, { ttlMs: TTL_MS });
  const callRaw = (): Promise<unknown> => raw.evalsha(sha, 1, '{bench}', TTL_MS);
  const script = { unit: 'calls/s', theirsIs: "ioredis' own evalsha", rounds: { quick: 61, full: 201 } };
  return {
    cases: [
      {
        ...script,
        name: 'script-awaited',
        ours: () => callsPerSecond(500, 1, callOurs),
        theirs: () => callsPerSecond(500, 1, callRaw),
      },
      {
        ...script,
        name: 'script-in-flight',
        ours: () => callsPerSecond(5_000, 100, callOurs),
        theirs: () => callsPerSecond(5_000, 100, callRaw),
      },
      {
        name: 'embedded-ready',
        unit: 'ms',
        lessIsBetter: true,
        theirsIs: 'the same program started bare and asked every millisecond; the limit is 300 ms',
        rounds: { quick: 5, full: 21 },
        ours: () => readyOurs(binary),
        theirs: () => readyRaw(binary),
      },
    ],
    async close() {
      raw.disconnect();
      await connections.close();
      await server.stop();
    },
  };
}

async function readyOurs(binary: ServerBinary): Promise<number> {
  const server = await startBenchServer(binary);
  await server.stop();
  return server.readyMs;
}

async function readyRaw({ command: [program, ...args] }: ServerBinary): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-bench-'));
  const socketPath = join(folder, 'redis.sock');
  const start = performance.now();
  const child = spawn(program, [...args, '--port', '0', '--unixsocket', socketPath, '--dir', folder, '--save', ''], {
    stdio: 'ignore',
  });
  while (!(await answers(socketPath))) await delay(1);
  const readyMs = performance.now() - start;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await exited;
  await rm(folder, { recursive: true, force: true });
  return readyMs;
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath, () => socket.write('PING\r\n'));
    socket.once('error', () => resolve(false));
    socket.once('data', () => {
      socket.destroy();
      resolve(true);
    });
  });
}
