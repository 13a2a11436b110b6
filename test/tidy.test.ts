/** The house rules that a machine can hold: who imports whom, what is banned and what to use instead, docs in step. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

const read = (file: string): string => readFileSync(join(root, file), 'utf8');

function filesBelow(folder: string, ending: RegExp): string[] {
  const start = join(root, folder);
  if (!existsSync(start)) return [];
  return readdirSync(start, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && ending.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter((file) => !file.includes('node_modules/')); // The benches have packages of their own.
}

const CODE_FOLDERS = ['src', 'workers', 'dashboard', 'examples', 'bench', 'test'];
const code = CODE_FOLDERS.flatMap((folder) => filesBelow(folder, /\.(ts|tsx|js)$/));
const sources = code.filter((file) => file.startsWith('src/'));
const lua = filesBelow('lua', /\.lua$/);
const docs = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...filesBelow('docs', /\.md$/)];

/** The ground that everything stands on; these may import one another, and nothing else of ours. */
const GROUND = [
  'errors',
  'durations',
  'clock',
  'log',
  'schema',
  'health',
  'meters',
  'backoff',
  'describe-error',
  'fingerprint',
  'payload',
  'secrets',
  'quiet-schema',
].map((name) => `src/${name}.ts`);

/** Each package of ours that only one place may import. */
const ONLY_IN: Readonly<Record<string, (file: string) => boolean>> = {
  bullmq: (file) => file.startsWith('src/jobs/'),
  ioredis: (file) => file.startsWith('src/redis/') || file.startsWith('src/jobs/'),
  redis: (file) => file.startsWith('src/redis/') || file.startsWith('src/vector/'),
  express: (file) => /^(src\/http|src\/cli|workers|dashboard|examples)\//.test(file),
  nodemailer: (file) => file.startsWith('workers/'),
  preact: (file) => file.startsWith('dashboard/'),
  'pino-pretty': (file) => file === 'src/log.ts',
};

interface Import {
  from: string;
  /** A file of ours, or a package's name. */
  to: string;
  isTypeOnly: boolean;
  /** Whether it is loaded where the code comes by, and not with the file. */
  isLate: boolean;
}

function importsOf(file: string): Import[] {
  const pattern = /^(?:import|export)\s+(type\s)?[^'";]*?from\s+'([^']+)'|^import\s+'([^']+)'|\bimport\('([^']+)'\)/gm;
  return [...read(file).matchAll(pattern)].map((match) => {
    const to = match[2] ?? match[3] ?? match[4] ?? '';
    const target = to.startsWith('.') ? relative(root, resolve(root, dirname(file), to)) : to;
    return { from: file, to: target, isTypeOnly: match[1] !== undefined, isLate: match[4] !== undefined };
  });
}

/** Why the import is against the rules; undefined when it is not. */
function fault({ from, to }: Import): string | undefined {
  const isOurs = to.startsWith('src/') || CODE_FOLDERS.some((folder) => to.startsWith(`${folder}/`));
  if (from.startsWith('test/') || from.startsWith('bench/')) return undefined;
  if (to.startsWith('test/') || to.startsWith('bench/')) return 'nothing imports tests or benches';
  const owner = ONLY_IN[to];
  if (owner && !owner(from)) return `${to} may not be imported here; use what src/ makes of it`;
  if (!isOurs) return undefined;
  if (from.startsWith('src/') && /^(dashboard|workers)\//.test(to))
    return 'the dashboard and the stock jobs stand on src/, not the other way';
  if (/^(workers|dashboard|examples|src\/cli)\//.test(from)) {
    const isPublished = ['src/index.ts', 'src/http/index.ts', 'src/testing/index.ts'].includes(to);
    const isSibling =
      dirname(to).split('/')[0] === dirname(from).split('/')[0] &&
      to.startsWith(
        `${from
          .split('/')
          .slice(0, from.startsWith('src/') ? 2 : 1)
          .join('/')}/`,
      );
    return isPublished || isSibling ? undefined : 'only the published surface may be imported here';
  }
  if (GROUND.includes(from)) return GROUND.includes(to) ? undefined : 'the ground imports the ground only';
  if (from.startsWith('src/redis/'))
    return GROUND.includes(to) || to.startsWith('src/redis/') ? undefined : 'src/redis imports the ground only';
  const moduleFolder = /^src\/([\w-]+)\//.exec(from)?.[1];
  if (moduleFolder !== undefined && moduleFolder !== 'http') {
    // The testing kit simulates a worker with the worker's own code, so that the two cannot drift apart.
    const isTested = moduleFolder === 'testing' && to.startsWith('src/jobs/');
    const isBelow =
      GROUND.includes(to) || to.startsWith('src/redis/') || to.startsWith(`src/${moduleFolder}/`) || isTested;
    return isBelow ? undefined : 'a module never imports another module; platform.ts passes in what it needs';
  }
  return undefined;
}

describe('who imports whom', () => {
  test('arrows point down only', () => {
    const faults = code.flatMap(importsOf).flatMap((one) => {
      const reason = fault(one);
      return reason === undefined ? [] : [`${one.from} imports ${one.to}: ${reason}`];
    });
    expect(faults).toEqual([]);
  });

  test('the rules refuse what they should refuse', () => {
    const refused: Array<[string, string]> = [
      ['src/cache/cache.ts', 'src/lock/lock.ts'],
      ['src/errors.ts', 'src/redis/keys.ts'],
      ['src/redis/keys.ts', 'src/platform.ts'],
      ['src/cli/doctor.ts', 'src/redis/doctor.ts'],
      ['workers/main.ts', 'src/jobs/worker.ts'],
      ['workers/email-send.ts', 'bullmq'],
      ['workers/email-send.ts', 'ioredis'],
      ['workers/email-send.ts', 'dashboard/index.ts'],
      ['src/platform.ts', 'workers/index.ts'],
      ['src/platform.ts', 'nodemailer'],
      ['src/cache/cache.ts', 'ioredis'],
      ['src/platform.ts', 'bullmq'],
      ['src/index.ts', 'test/support/servers.ts'],
      ['dashboard/queues/page.tsx', 'bullmq'],
      ['dashboard/audit/audit.ts', 'src/redis/keys.ts'],
      ['src/platform.ts', 'dashboard/index.ts'],
    ];
    for (const [from, to] of refused)
      expect(fault({ from, to, isTypeOnly: false, isLate: false }), `${from} -> ${to}`).toBeTypeOf('string');
  });

  test('what a worker of jobs seldom needs is not loaded with the package', () => {
    const loaded = new Set(['src/index.ts']);
    for (const file of loaded) {
      const needed = sources.includes(file)
        ? importsOf(file).filter(({ isTypeOnly, isLate }) => !isTypeOnly && !isLate)
        : [];
      for (const { to } of needed) loaded.add(to);
    }
    const late = ['redis/embedded/embedded', 'redis/doctor', 'streams/consumer/consumer'].map(
      (name) => `src/${name}.ts`,
    );
    expect(late.filter((file) => !sources.includes(file))).toEqual([]);
    expect(late.filter((file) => loaded.has(file))).toEqual([]);
    expect(loaded).toContain('src/jobs/worker/queue-worker.ts');
  });
});

interface Ban {
  pattern: RegExp;
  instead: string;
  /** Where it may stand. */
  except?: (file: string) => boolean;
  /** Whether comments count too. Default false. */
  inComments?: boolean;
  in: readonly string[];
}

const dashboard = code.filter((file) => file.startsWith('dashboard/'));
const isCli = (file: string): boolean => file.startsWith('src/cli/');
const BANS: readonly Ban[] = [
  { pattern: /\bconsole\./, instead: 'a logger that was passed in', except: isCli, in: sources },
  {
    pattern: /\bprocess\.env\b/,
    instead: 'readEnv() of src/env.ts',
    except: (file) => file === 'src/env.ts',
    in: sources,
  },
  {
    pattern: /\bDate\.now\(|\bnew Date\(\)|\bperformance\.now\(/,
    instead: 'a Clock (src/clock.ts)',
    except: (file) => file === 'src/clock.ts',
    in: sources,
  },
  {
    pattern: /\bnew (Redis|Cluster)\(/,
    instead: 'createConnections() of src/redis/connect.ts',
    except: (file) => file === 'src/redis/clients.ts',
    in: sources,
  },
  { pattern: /\bkeyPrefix\b/, instead: 'createKeySpace() of src/redis/keys.ts', in: sources },
  { pattern: /\.keys\('|call\('KEYS'/, instead: 'SCAN, or an index', in: sources },
  {
    pattern: /\bflushall\b|\bflushdb\b/i,
    instead: 'a server of the test itself (test/support/servers.ts)',
    except: (file) => file.startsWith('bench/'), // A bench empties the server that it has started.
    in: code.filter((file) => file !== 'test/tidy.test.ts'),
  },
  {
    pattern: /\bthrow new Error\(/,
    instead: 'a MillraceError with a code',
    in: sources.filter((file) => !file.startsWith('src/redis/embedded/')),
  },
  {
    pattern: /\bconsole\.|\bprocess\.env\b|\bDate\.now\(|\bnew Date\(\)/,
    instead: 'desk.log, the options and view.now',
    except: (file) => file.startsWith('dashboard/client/'),
    in: dashboard,
  },
  {
    pattern: /\bconsole\.|\bprocess\.env\b|\bDate\.now\(|\bnew Date\(\)|\bthrow new Error\(/,
    instead: 'the logger, readStockEnv(), systemClock, and errors with a name',
    except: (file) => file === 'workers/env.ts' || file === 'workers/main.ts',
    in: code.filter((file) => file.startsWith('workers/')),
  },
  {
    pattern: /dangerouslySetInnerHTML|innerHTML\b|insertAdjacentHTML|document\.write/,
    instead: 'what escapes: JSX, textContent',
    in: dashboard,
  },
  { pattern: /\sstyle=[{"]/, instead: 'a class: the policy refuses inline styles', in: dashboard },
  { pattern: /catch\s*(\(\w*\))?\s*\{\s*\}/, instead: 'a handler that says why nothing is to be done', in: code },
  { pattern: /\b(describe|test|it)\.(only|todo)\b/, instead: 'the whole suite', in: code },
  {
    pattern: new RegExp(`\\b(${['TO', 'FIX'].map((word) => `${word}${word === 'TO' ? 'DO' : 'ME'}`).join('|')})\\b`),
    instead: 'the work itself, or an issue',
    inComments: true,
    in: [...code, ...lua, ...docs],
  },
  {
    pattern: /from 'node:timers\/promises'/,
    instead: 'eventually() of test/support/eventually.ts',
    except: (file) => file.startsWith('test/support/'),
    in: code.filter((file) => file.startsWith('test/')),
  },
];

describe('bans', () => {
  test.each(BANS)('$pattern: use $instead', ({ pattern, except, inComments = false, in: files }) => {
    const found = files
      .filter((file) => !except?.(file) && file !== 'test/tidy.test.ts')
      .flatMap((file) =>
        read(file)
          .split('\n')
          .flatMap((line, index) => {
            // Examples in doc comments are users' code, not ours.
            const isExempt = !inComments && /^\s*(?:\*|\/\*|\/\/)/.test(line);
            return pattern.test(line) && !isExempt ? [`${file}:${index + 1}: ${line.trim()}`] : [];
          }),
      );
    expect(found).toEqual([]);
  });

  test('a source file is read in one sitting', () => {
    const lengths = code.map((file) => ({ file, lines: read(file).split('\n').length }));
    expect(lengths.filter(({ lines }) => lines > 400)).toEqual([]);
  });

  test('file names are kebab-case', () => {
    const odd = [...code, ...lua].filter((file) => !/^[a-z0-9-]+(\.[a-z-]+)+$/.test(file.split('/').at(-1) ?? ''));
    expect(odd).toEqual([]);
  });
});

describe('Lua files', () => {
  const definitions = [...sources, ...code.filter((file) => file.startsWith('dashboard/'))].flatMap((file) =>
    [...read(file).matchAll(/file: '([\w/-]+\.lua)'/g)].map((match) => match[1]),
  );

  test.each(lua)('%s says what it does, why it is atomic and what it replies, and is bound once', (file) => {
    const text = read(file);
    expect(text.startsWith('-- '), 'begins with a comment').toBe(true);
    expect(text).toMatch(/^-- Reply: /m);
    for (const line of text.match(/^local .*(?:KEYS|ARGV).*$/gm) ?? [])
      expect(line, 'each key and argument is explained').toContain('--');
    expect(definitions.filter((bound) => `lua/${bound}` === file)).toHaveLength(1);
  });
});

describe('docs in step', () => {
  test('the public surface is what this list says', () => {
    const names = [...read('src/index.ts').matchAll(/\{([^}]*)\}/g)]
      .flatMap((match) => (match[1] ?? '').split(','))
      .map((name) => name.trim().replace(/^type /, ''))
      .filter((name) => name !== '');
    expect(names.toSorted()).toMatchSnapshot();
  });

  test('every function of the public surface has a doc comment with an example', () => {
    const names = [...read('src/index.ts').matchAll(/\{([^}]*)\}/g)]
      .flatMap((match) => (match[1] ?? '').split(','))
      .map((name) => name.trim())
      .filter((name) => name !== '' && !name.startsWith('type '));
    const all = sources.map(read).join('\n');
    const bare = names.filter((name) => {
      const isFunction = new RegExp(`export (?:async )?function ${name}\\b`).test(all);
      return (
        isFunction && !new RegExp(`@example(?:(?!\\*/)[\\s\\S])*\\*/\\nexport (?:async )?function ${name}\\b`).test(all)
      );
    });
    expect(bare).toEqual([]);
  });

  test.each(docs)('%s: every link to a file leads somewhere', (file) => {
    const links = [...read(file).matchAll(/\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)/g)].map((match) => match[1] ?? '');
    expect(links.filter((link) => !existsSync(resolve(root, dirname(file), link)))).toEqual([]);
  });

  test.each(docs)('%s: every npm script that is named is there', (file) => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    const named = [...read(file).matchAll(/npm run (?:--\w+ )*([\w:]+)/g)].map((match) => match[1] ?? '');
    expect(named.filter((name) => !(name in scripts))).toEqual([]);
  });

  test('every file that docs/internals.md names is there, and every source file is named', () => {
    const text = read('docs/internals.md');
    const named = new Set(
      [...text.matchAll(/`((?:src|lua|test|bench|docs)\/[\w./-]+\.\w+)`/g)].map((match) => match[1] ?? ''),
    );
    expect([...named].filter((file) => !existsSync(join(root, file)))).toEqual([]);
    expect(sources.filter((file) => !named.has(file))).toEqual([]);
  });

  test("the benches' bare client is the version that we use", () => {
    const [ours, theirs] = ['package.json', 'bench/package.json'].map(
      (file) => (JSON.parse(read(file)) as { dependencies: Record<string, string> }).dependencies['ioredis'],
    );
    expect(theirs).toBe(ours);
  });

  test('what package.json publishes is there', () => {
    const { bin, exports } = JSON.parse(read('package.json')) as {
      bin: Record<string, string>;
      exports: Record<string, Record<string, string> | string>;
    };
    const entries = Object.values(exports).map((entry) =>
      typeof entry === 'string' ? entry : (entry['millrace-source'] ?? ''),
    );
    for (const file of [...Object.values(bin), ...entries]) expect(existsSync(join(root, file)), file).toBe(true);
    expect(statSync(join(root, bin['millrace'] ?? '')).mode & 0o100, 'the command is executable').not.toBe(0);
  });
});
