/** Where this machine's own apt gets Debian's packages from. */
import { existsSync } from 'node:fs';
import { access, constants, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MillraceError } from '../../errors.ts';

/** What a line of sources.list says of it. */
export interface Mirror {
  uri: string;
  /** In square brackets, with a space behind. */
  options: string;
}

/** What Debian calls the processors that the packages are used on. */
const ARCHITECTURES: Readonly<Partial<Record<NodeJS.Architecture, string>>> = { x64: 'amd64', arm64: 'arm64' };
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** @throws MillraceError PROVISION_FAILED, which says why this machine has none. */
export async function findMirror(): Promise<Mirror> {
  const architecture = ARCHITECTURES[process.arch];
  if (process.platform !== 'linux' || architecture === undefined)
    throw failed(`Debian's packages do not run on ${process.platform} ${process.arch}`, {});
  const release = await readFile('/etc/os-release', 'utf8').catch(() => '');
  const id = /^ID=["']?([\w.-]+)/m.exec(release)?.[1] ?? 'unknown';
  if (id !== 'debian') throw failed(`this machine runs ${id}, not Debian`, { id });
  for (const tool of ['/usr/bin/apt-get', '/usr/bin/dpkg-deb']) {
    await access(tool, constants.X_OK).catch(() => {
      throw failed(`${tool} is missing`, { tool });
    });
  }
  const uri = (await aptSources()).find(isDebianArchive);
  if (uri === undefined) throw failed("no mirror of Debian stands in this machine's apt sources", {});
  const signedBy = existsSync(KEYRING) ? ` signed-by=${KEYRING}` : '';
  return { uri, options: `[arch=${architecture}${signedBy}] ` };
}

/** Every address in sources.list and sources.list.d. */
async function aptSources(): Promise<string[]> {
  const folder = '/etc/apt/sources.list.d';
  const files = (await readdir(folder).catch(() => [])).map((file) => join(folder, file));
  const found = await Promise.all(
    ['/etc/apt/sources.list', ...files].map(async (file) =>
      parseAptSources(file, await readFile(file, 'utf8').catch(() => '')),
    ),
  );
  return found.flat();
}

/** The addresses of binary packages in a file of apt's: lines in `*.list`, paragraphs in `*.sources`; apt reads no other file. */
export function parseAptSources(file: string, text: string): string[] {
  if (file.endsWith('.list'))
    return [...text.matchAll(/^\s*deb\s+(?:\[[^\]]*\]\s*)?(\S+)/gm)].map((match) => match[1] ?? '');
  if (!file.endsWith('.sources')) return [];
  const withoutComments = text.replaceAll(/^#.*\n?/gm, '');
  return withoutComments.split(/\n\s*\n/).flatMap((paragraph) => {
    // A value goes on in lines that begin with a space.
    const words = (field: string): string[] =>
      (new RegExp(`^${field}:(.*(?:\n[ \t].*)*)`, 'im').exec(paragraph)?.[1] ?? '').split(/\s+/).filter(Boolean);
    const isOn = words('Types').includes('deb') && !/^(no|false|off|0)$/i.test(words('Enabled')[0] ?? '');
    return isOn ? words('URIs') : [];
  });
}

/** Whether the address is of Debian itself, and not of its security updates or somebody else's packages. Cloud images name a list of mirrors. */
export function isDebianArchive(uri: string): boolean {
  return /\/debian\/?$|^mirror\+file:.*\/debian\.list$/.test(uri);
}

function failed(reason: string, facts: Record<string, unknown>): MillraceError {
  return new MillraceError('PROVISION_FAILED', reason, facts);
}
