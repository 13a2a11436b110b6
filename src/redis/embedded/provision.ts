/**
 * Gets a private redis-server from Debian's archive: no root, nothing installed, the system untouched.
 *
 * Debian ships redis-server and redis-check-rdb as one program that goes by its name, in the package redis-tools. apt itself, with every
 * folder pointed into a private one, downloads that package and the libraries it links; it checks the archive's signatures
 * as it always does. dpkg-deb unpacks them, and the packages' own dynamic loader starts the program with those libraries, so the
 * machine's release does not matter. The result is one folder in the user's cache with the checksum of every file beside it.
 *
 *   (nothing) --lock, download, unpack, try--> complete folder, renamed into place --check on each use--> used
 *                                                      checksum differs: removed and provisioned again
 */
import { createHash } from 'node:crypto';
import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { formatMs } from '../../durations.ts';
import { MillraceError } from '../../errors.ts';
import { silentLogger, type Logger } from '../../log.ts';
import { identify, type ServerBinary } from './binary.ts';
import { findMirror, type Mirror } from './debian-mirror.ts';
import { hold, type Holder } from './folder-lock.ts';
import { explainingFolder, prepareFolder, requireSpace } from './usable-folder.ts';

const run = promisify(execFile);

/** Which server to get, from which Debian release. */
export interface Build {
  /** The folder's name in the cache. */
  name: string;
  /** The release to take it from. */
  suite: string;
  /** The package that carries the program. */
  tools: string;
  /** The program, which is a server when it is called `serverName`. */
  program: string;
  serverName: string;
  /** The packages of the libraries that it links. */
  libraries: readonly string[];
  /** The release to take these from, where it is another one. */
  librariesSuite?: string;
}

/** What any server of Debian links. */
const COMMON_LIBRARIES = [
  'libc6',
  'libgcc-s1',
  'libatomic1',
  'libjemalloc2',
  'liblzf1',
  'libsystemd0',
  'libzstd1',
  'zlib1g',
  'libcap2',
  'liblzma5',
  'liblz4-1',
  'libgcrypt20',
  'libgpg-error0',
] as const;

/** The server that the platform runs: Redis 8 of Debian's stable release, with vector sets. */
export const REDIS_8: Build = {
  name: 'redis-8',
  suite: 'trixie',
  tools: 'redis-tools',
  program: 'usr/bin/redis-check-rdb',
  serverName: 'redis-server',
  libraries: [...COMMON_LIBRARIES, 'libstdc++6', 'libssl3t64'],
};

/** Valkey 8 of the same release; the tests run on it too. */
export const VALKEY_8: Build = {
  ...REDIS_8,
  name: 'valkey-8',
  tools: 'valkey-tools',
  program: 'usr/bin/valkey-check-rdb',
  serverName: 'valkey-server',
};

/** The newest Redis that Debian has, in its release for what is not settled yet; the tests see there what newer commands make of a module. */
export const REDIS_NEWEST: Build = {
  ...REDIS_8,
  name: 'redis-newest',
  suite: 'experimental',
  librariesSuite: 'sid',
};

/** The Redis that Debian 12 itself has, which is older than the oldest supported one; the tests see that it is refused. */
export const REDIS_7_0: Build = {
  ...REDIS_8,
  name: 'redis-7.0',
  suite: 'bookworm',
  libraries: [...COMMON_LIBRARIES, 'libssl3'],
};

/** What is said while it goes on. */
export interface Progress {
  /** In plain words, such as `downloading redis-tools and 15 libraries`. */
  step: string;
  /** 0 to 100 within the step, where that is known. */
  percent: number | undefined;
}

export interface ProvisionOptions {
  /** The user's cache folder; each build is a folder in it. */
  cacheFolder: string;
  log: Logger;
  onProgress?: ((progress: Progress) => void) | undefined;
}

const LOADERS: Readonly<Partial<Record<NodeJS.Architecture, string>>> = {
  x64: 'ld-linux-x86-64.so.2',
  arm64: 'ld-linux-aarch64.so.1',
};

const MANIFEST = 'manifest.json';
const NEEDED_BYTES = 200 * 1024 * 1024;
const LOCK_WITHIN_MS = 10 * 60_000;
const STEP_WITHIN_MS = 5 * 60_000;

/** The provisioned server if it is there and whole; of a damaged one the log tells. */
export async function findProvisioned(
  build: Build,
  { cacheFolder, log }: ProvisionOptions,
): Promise<ServerBinary | undefined> {
  const folder = join(cacheFolder, build.name);
  if (!existsSync(join(folder, MANIFEST))) return undefined;
  const damaged = await firstDamaged(folder);
  if (damaged !== undefined) {
    log.warn({ folder }, `the ${build.serverName} in ${folder} is damaged (${damaged}); it is not used`);
    return undefined;
  }
  return identify(commandOf(build, folder), `the copy in ${folder}`);
}

/**
 * The provisioned server, fetched if it is not there yet. Two processes at once fetch it once.
 * @throws MillraceError PROVISION_FAILED with the step that failed and what the tool said; FOLDER_UNUSABLE; FOLDER_BUSY.
 */
export async function provision(build: Build, options: ProvisionOptions): Promise<ServerBinary> {
  const mirror = await findMirror();
  const chosen = { folder: options.cacheFolder, what: 'cache folder', variable: 'MILLRACE_CACHE' };
  const cacheFolder = await prepareFolder(chosen);
  await requireSpace(chosen, NEEDED_BYTES);
  return explainingFolder(chosen, () => provisionInto(build, mirror, { ...options, cacheFolder }));
}

async function provisionInto(build: Build, mirror: Mirror, options: ProvisionOptions): Promise<ServerBinary> {
  const { cacheFolder, onProgress } = options;
  const lock = `${build.name}.lock`;
  const sayWhoFetches = ({ pid, host }: Holder): void => {
    const where = host === hostname() ? '' : ` on ${host}`;
    const step = `waiting for process ${pid}${where}, which is fetching ${build.serverName}; if it is gone, remove ${join(cacheFolder, lock)}.*`;
    onProgress?.({ step, percent: undefined });
  };
  const held = await hold(cacheFolder, lock, { withinMs: LOCK_WITHIN_MS, onWait: sayWhoFetches });
  try {
    // Whoever asked before has been told of a damaged copy.
    const ready = await findProvisioned(build, { ...options, log: silentLogger });
    if (ready) return ready;
    await removeLeftovers(build, options);
    const work = await mkdtemp(join(cacheFolder, `${build.name}.work-`));
    try {
      return await fetchInto(work, build, mirror, options);
    } finally {
      await remove(work, options.log);
    }
  } finally {
    await held.release();
  }
}

async function fetchInto(
  work: string,
  build: Build,
  mirror: Mirror,
  { cacheFolder, onProgress }: ProvisionOptions,
): Promise<ServerBinary> {
  const tell = (what: string) => (percent?: number) => onProgress?.({ step: what, percent });
  const suites = [build.suite, ...(build.librariesSuite === undefined ? [] : [build.librariesSuite])];
  const packages = [`${build.tools}/${build.suite}`, ...build.libraries];
  const archives = join(work, 'archives');
  const root = join(work, 'root');
  for (const folder of [archives, root, join(work, 'state/lists/partial'), join(work, 'cache/archives/partial')]) {
    await mkdir(folder, { recursive: true });
  }
  const sources = suites.map((suite) => `deb ${mirror.options}${mirror.uri} ${suite} main\n`);
  await writeFile(join(work, 'sources.list'), sources.join(''));
  await writeFile(join(work, 'apt.conf'), APT_CONF);
  await apt(work, ['update'], work, tell(`reading the package list of Debian ${suites.join(' and ')}`));
  await apt(
    work,
    ['download', ...packages],
    archives,
    tell(`downloading ${build.tools} and ${build.libraries.length} libraries`),
  );
  tell('unpacking')();
  for (const archive of await readdir(archives)) {
    await attempt('unpacking', () =>
      run('dpkg-deb', ['-x', join(archives, archive), root], { timeout: STEP_WITHIN_MS }),
    );
  }
  await keepOnly(build, root);
  await writeManifest(root);
  const tried = await identify(commandOf(build, root), 'a fresh copy');
  if (!tried) throw failed(`the ${build.serverName} that was fetched does not run on this machine`, {});
  const folder = join(cacheFolder, build.name);
  await rm(folder, { recursive: true, force: true });
  await rename(root, folder);
  return { ...tried, command: commandOf(build, folder), source: `the copy in ${folder}` };
}

/**
 * What the machine's configuration of apt adds for the machine's own sake: hooks that run after an update (they clean the system's
 * caches, and wake its services) and a release that is preferred, which our one source does not have.
 */
const APT_CONF = [
  'APT::Update::Pre-Invoke',
  'APT::Update::Post-Invoke',
  'APT::Update::Post-Invoke-Success',
  'APT::Default-Release',
]
  .map((name) => `#clear ${name};\n`)
  .join('');

/** Runs apt-get with every folder pointed into the work folder; its progress comes as lines on a pipe of its own. */
async function apt(
  work: string,
  args: readonly string[],
  cwd: string,
  onPercent: (percent?: number) => void,
): Promise<void> {
  onPercent();
  const settings = [
    `Dir::Etc::SourceList=${join(work, 'sources.list')}`,
    'Dir::Etc::SourceParts=/dev/null',
    'Dir::Etc::Preferences=/dev/null',
    'Dir::Etc::PreferencesParts=/dev/null',
    `Dir::State=${join(work, 'state')}`,
    'Dir::State::status=/dev/null',
    `Dir::Cache=${join(work, 'cache')}`,
    'Acquire::Languages=none',
    'Acquire::Retries=2',
    'Acquire::http::Timeout=15',
    // Without it an update from a mirror that does not answer is a success.
    'APT::Update::Error-Mode=any',
    'APT::Sandbox::User=root',
    'APT::Status-Fd=3',
  ].flatMap((setting) => ['-o', setting]);
  const child = spawn('apt-get', ['-c', join(work, 'apt.conf'), ...settings, '-q', ...args], {
    cwd,
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    timeout: STEP_WITHIN_MS,
  });
  const kill = (): boolean => child.kill();
  process.once('exit', kill);
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-2_000)));
  const status = child.stdio[3];
  if (status && 'setEncoding' in status) {
    createInterface({ input: status }).on('line', (line) => {
      const percent = /^dlstatus:\d+:([\d.]+):/.exec(line)?.[1];
      if (percent !== undefined) onPercent(Math.min(100, Number(percent)));
    });
  }
  const end = await new Promise<number | string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (exit, signal) => resolve(exit ?? signal ?? 'unknown'));
  });
  process.off('exit', kill);
  if (end === 0) return;
  const reasons = said
    .split('\n')
    .filter((line) => /^[EW]:/.test(line))
    .slice(0, 3)
    .join(' ');
  const how = end === 'SIGTERM' ? `was ended, at the latest after ${formatMs(STEP_WITHIN_MS)}` : `ended with ${end}`;
  throw failed(`apt-get ${args[0]} ${how}: ${reasons || said.trim() || 'it said nothing'}`, {
    step: args[0],
    exit: end,
  });
}

/** Leaves the program and the shared libraries; manuals, locales and the like go. */
async function keepOnly(build: Build, root: string): Promise<void> {
  const kept = join(root, '..', 'kept');
  const libraries = join(kept, 'lib');
  await mkdir(libraries, { recursive: true });
  await rename(join(root, build.program), join(kept, build.serverName));
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    const isLibrary = /\.so(\.\d+)*$/.test(entry.name);
    // Plug-ins (gconv, engines) stand deeper; lib64 holds only a link to the loader.
    const isLinked = /(?:^|\/)lib\/[\w-]+-linux-gnu$/.test(relative(root, entry.parentPath));
    if (!isLibrary || !isLinked || entry.isDirectory()) continue;
    await rename(join(entry.parentPath, entry.name), join(libraries, entry.name));
  }
  await rm(root, { recursive: true });
  await rename(kept, root);
}

async function writeManifest(folder: string): Promise<void> {
  const files: Record<string, string> = {};
  for (const file of await filesIn(folder)) files[file] = await checksum(join(folder, file));
  await writeFile(join(folder, MANIFEST), JSON.stringify({ files }, undefined, 2));
}

/** The first file that is missing or differs from its checksum; undefined when all are whole. */
async function firstDamaged(folder: string): Promise<string | undefined> {
  try {
    const { files } = JSON.parse(await readFile(join(folder, MANIFEST), 'utf8')) as { files: Record<string, string> };
    for (const [file, expected] of Object.entries(files)) {
      if ((await checksum(join(folder, file)).catch(() => 'missing')) !== expected) return file;
    }
    return undefined;
  } catch {
    return MANIFEST; // Cut short or not JSON: then nothing it lists can be trusted.
  }
}

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)));
}

async function checksum(file: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(file))
    .digest('hex');
}

function commandOf(build: Build, folder: string): ServerBinary['command'] {
  const libraries = join(folder, 'lib');
  const loader = join(libraries, LOADERS[process.arch] ?? 'ld.so');
  return [loader, '--argv0', build.serverName, '--library-path', libraries, join(folder, build.serverName)];
}

/** Work folders of processes that were killed: whoever holds the lock is the only one who could be using one. */
async function removeLeftovers(build: Build, { cacheFolder, log }: ProvisionOptions): Promise<void> {
  for (const entry of await readdir(cacheFolder)) {
    if (entry.startsWith(`${build.name}.work-`)) await remove(join(cacheFolder, entry), log);
  }
}

/** Best effort: an apt-get whose owner was killed may still be writing there; the next fetch tries again. */
async function remove(folder: string, log: Logger): Promise<void> {
  await rm(folder, { recursive: true, force: true, maxRetries: 3 }).catch((error: unknown) => {
    log.warn({ err: error }, `${folder} could not be removed`);
  });
}

async function attempt<T>(name: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (cause) {
    throw failed(`${name} failed: ${(cause as Error).message.split('\n', 1)[0]}`, { step: name, cause });
  }
}

function failed(reason: string, facts: { cause?: unknown; [fact: string]: unknown }): MillraceError {
  return new MillraceError('PROVISION_FAILED', reason, facts);
}
