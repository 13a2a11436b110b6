import { afterAll, describe, expect, test } from 'vitest';
import { createConnections } from '../../src/redis/connect.ts';
import { makeCertificates, type Certificates } from '../support/certificates.ts';
import { clientsOf } from '../support/client-list.ts';
import { failureOf } from '../support/failures.ts';
import { temporaryFolder } from '../support/folders.ts';
import { ownedByTest } from '../support/owned.ts';
import { freePort, startRedis, type TestServer } from '../support/servers.ts';

const own = ownedByTest();

interface TlsServer {
  server: TestServer;
  port: number;
  certificates: Certificates;
}

/** A server with a plain port and a TLS port, or the reason why there is none. */
async function startTlsServer(): Promise<TlsServer | string> {
  const certificates = await makeCertificates(temporaryFolder());
  if (typeof certificates === 'string') return certificates;
  const port = await freePort();
  const { ca, cert, key } = certificates.files;
  try {
    const config = {
      'tls-port': port,
      'tls-ca-cert-file': ca,
      'tls-cert-file': cert,
      'tls-key-file': key,
      'tls-auth-clients': 'no',
    };
    return { server: await startRedis({ config }), port, certificates };
  } catch (error) {
    return `the server knows no TLS: ${(error as Error).message}`;
  }
}

const started = await startTlsServer();
if (typeof started === 'string') console.log(`TLS is not tested: ${started}`);

describe.skipIf(typeof started === 'string')('TLS', () => {
  const { server, port, certificates } = started as TlsServer;
  afterAll(() => server.stop());
  const url = `rediss://127.0.0.1:${port}`;

  test('every role works with the authority of the certificate', async () => {
    const connections = own(createConnections({ url: `${url}/3`, tls: { ca: certificates.ca } }));
    await connections.verify();
    for (const client of [connections.queue(), connections.commands(), connections.blocking('loop')])
      expect(await client.incr('count')).toBeGreaterThan(0);
    expect(await connections.subscriber().subscribe('news')).toBe(1);
    expect(await (await connections.search()).ping()).toBe('PONG');
    const clients = await clientsOf(server);
    expect(clients.map(({ name, database }) => [name.split(':')[1], database])).toContainEqual(['search', '3']);
    expect(await server.ask((redis) => redis.select(3).then(() => redis.get('count')))).toBe('3');
  });

  test('a host name is checked against the certificate, not the number that it stands for', async () => {
    const connections = own(createConnections({ url: `rediss://localhost:${port}`, tls: { ca: certificates.ca } }));
    expect((await connections.verify()).role).toBe('master');
    const misnamed = own(createConnections({ url, tls: { ca: certificates.ca, servername: 'other.example' } }));
    const error = await failureOf(misnamed.verify(), 'REDIS_TLS_FAILED');
    expect(error.message).toContain('other.example');
  });

  test('a certificate of an unknown authority is refused, by every kind of client', async () => {
    for (const tls of [true, { ca: certificates.strangerCa }]) {
      const connections = own(createConnections({ url, tls }));
      const error = await failureOf(connections.verify(), 'REDIS_TLS_FAILED');
      expect(error.message).toContain('REDIS_TLS_CA');
      await failureOf(connections.search(), 'REDIS_TLS_FAILED');
    }
  });

  test('an unknown authority is accepted only when told to', async () => {
    const connections = own(createConnections({ url, tls: { rejectUnauthorized: false } }));
    expect((await connections.verify()).role).toBe('master');
  });

  test('redis:// to a TLS port is told to be no plain Redis', async () => {
    const connections = own(createConnections({ url: `redis://127.0.0.1:${port}` }));
    const error = await failureOf(connections.verify(), 'REDIS_NOT_REDIS');
    expect(error.message).toContain('TLS');
  });

  test('rediss:// to a plain port is told to be no TLS', async () => {
    const options = { url: `rediss://127.0.0.1:${server.port}`, connectTimeout: 300 };
    const error = await failureOf(createConnections(options).verify(), 'REDIS_TLS_FAILED');
    expect(error.message).toContain('Check that the server speaks TLS on this port');
  });
});
