import { describe, expect, test } from 'vitest';
import { isDebianArchive, parseAptSources } from '../../../src/redis/embedded/debian-mirror.ts';

/** A paragraph of a *.sources file, with what the test changes. */
const paragraph = (fields: Record<string, string>): string =>
  Object.entries({ Types: 'deb', URIs: 'http://a.example/debian', Suites: 'bookworm', Components: 'main', ...fields })
    .map(([field, value]) => `${field}: ${value}\n`)
    .join('');

describe('addresses in sources.list', () => {
  test.each([
    ['a plain line', 'deb http://mirror.example/debian bookworm main\n', ['http://mirror.example/debian']],
    [
      'options in brackets',
      'deb [arch=amd64 signed-by=/etc/key.gpg] https://mirror.example/debian/ trixie main',
      ['https://mirror.example/debian/'],
    ],
    ['a tab between', 'deb\thttp://a.example/debian\tstable main', ['http://a.example/debian']],
    [
      'several lines',
      'deb http://a.example/debian x main\ndeb http://b.example/debian y main\n',
      ['http://a.example/debian', 'http://b.example/debian'],
    ],
    ['sources alone', 'deb-src http://a.example/debian bookworm main', []],
    ['a comment', '# deb http://a.example/debian bookworm main', []],
    ['nothing', '', []],
  ])('%s', (_what, text, expected) => expect(parseAptSources('/etc/apt/sources.list', text)).toEqual(expected));
});

describe('addresses in *.sources', () => {
  test.each([
    ['a paragraph', paragraph({}), ['http://a.example/debian']],
    ['binary and source packages', paragraph({ Types: 'deb deb-src' }), ['http://a.example/debian']],
    ['source packages alone', paragraph({ Types: 'deb-src' }), []],
    ['a paragraph that is switched off', paragraph({ Enabled: 'no' }), []],
    ['a paragraph that is switched on', paragraph({ Enabled: 'yes' }), ['http://a.example/debian']],
    [
      'several addresses in a line',
      paragraph({ URIs: 'http://a.example/debian http://b.example/debian' }),
      ['http://a.example/debian', 'http://b.example/debian'],
    ],
    [
      'several addresses in lines',
      paragraph({ URIs: '\n http://a.example/debian\n http://b.example/debian' }),
      ['http://a.example/debian', 'http://b.example/debian'],
    ],
    ['names in small letters', 'types: deb\nuris: http://a.example/debian\n', ['http://a.example/debian']],
    [
      'comments between fields',
      '# one\nTypes: deb\n# http://old.example/debian\nURIs: http://a.example/debian\n',
      ['http://a.example/debian'],
    ],
    [
      'several paragraphs',
      `${paragraph({})}\n${paragraph({ URIs: 'http://b.example/debian-security' })}`,
      ['http://a.example/debian', 'http://b.example/debian-security'],
    ],
  ])('%s', (_what, text, expected) =>
    expect(parseAptSources('/etc/apt/sources.list.d/debian.sources', text)).toEqual(expected),
  );
});

test('files that apt does not read are not read', () => {
  const text = 'deb http://a.example/debian bookworm main';
  expect(parseAptSources('/etc/apt/sources.list.d/old.list.save', text)).toEqual([]);
});

test.each([
  ['http://mirror.example/debian', true],
  ['https://mirror.example/pub/debian/', true],
  ['mirror+file:///etc/apt/mirrors/debian.list', true],
  ['mirror+file:/etc/apt/mirrors/debian-security.list', false],
  ['http://mirror.example/debian-security', false],
  ['https://deb.vendor.example/node_20.x', false],
  ['https://packages.example/apt', false],
])('%s is an archive of Debian: %s', (uri, expected) => expect(isDebianArchive(uri)).toBe(expected));
