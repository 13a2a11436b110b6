/**
 * Who may sign in: `name:role:hash` for each user, in options, in the environment or in a file.
 *
 * A file is looked at with each request and read again when it has changed, so that whoever is taken out is out at once. While it cannot be
 * read or has a fault, nobody of it is let in: a list that is half written must not let in those who were to go. Nor is anybody put out by it:
 * who is in it is not known then.
 */
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { MillraceError, type Logger } from 'millrace';
import { decoyFor, hashPassword, isPassword, LEAST_PASSWORD_LENGTH, readHash, type PasswordHash } from './password.ts';
import { ROLES, type Role, type User } from './roles.ts';

/** A user of the list. */
export interface KnownUser extends User {
  readonly hash: PasswordHash;
  /** Changes with the password: sessions that began with another one end. */
  readonly mark: string;
}

type Users = ReadonlyMap<string, KnownUser>;

const NAME = /^[\p{L}\p{N}][\p{L}\p{N}._@+-]{0,63}$/u;
const NOBODY: Users = new Map();

/** The users of a dashboard. */
export class UserList {
  readonly #given: Users;
  readonly #file: string | undefined;
  readonly #log: Logger;
  /** Undefined while it cannot be read. */
  #ofFile: Users | undefined = NOBODY;
  /** Why not, as the log was told. */
  #fault: string | undefined;
  #version = '';
  /** In the place of the hash that a name has which nobody has. */
  #decoy: PasswordHash | undefined;
  #looks = 0;
  /** The look whose list is kept. */
  #latest = 0;

  /** @throws MillraceError OPTIONS_INVALID, which repeats no hash */
  constructor(lines: readonly string[], file: string | undefined, log: Logger) {
    this.#given = usersOf(lines, 'users');
    this.#file = file;
    this.#log = log;
  }

  /** Whether nobody is listed, and no file is named that could list somebody. */
  get isEmpty(): boolean {
    return this.#given.size === 0 && this.#file === undefined;
  }

  /** Reads the file for the first time. @throws MillraceError OPTIONS_INVALID */
  async load(): Promise<void> {
    if (this.#file === undefined) return;
    this.#version = await versionOf(this.#file);
    this.#ofFile = await readUsers(this.#file);
  }

  /** The user of that name, as the list is now; `unknown` while the file that may name him cannot be read. Names are of one case. */
  async find(name: string): Promise<KnownUser | 'unknown' | undefined> {
    await this.#refresh();
    const key = keyOf(name);
    return this.#given.get(key) ?? (this.#ofFile ? this.#ofFile.get(key) : 'unknown');
  }

  /** Whether the file could be read when it was looked at last. */
  get isKnown(): boolean {
    return this.#ofFile !== undefined;
  }

  /** Whether it is the password of the user; without one it is not, after the same work. */
  async isPassword(password: string, user: KnownUser | undefined): Promise<boolean> {
    this.#decoy ??= decoyFor([...this.#given.values(), ...(this.#ofFile?.values() ?? [])].map(({ hash }) => hash));
    return (await isPassword(password, user?.hash ?? this.#decoy)) && user !== undefined;
  }

  /** Each request looks for itself: one that came after a change must not wait for an answer from before it. */
  async #refresh(): Promise<void> {
    if (this.#file === undefined) return;
    const look = ++this.#looks;
    const version = await versionOf(this.#file);
    if (version === this.#version && this.#ofFile) return; // One that could not be read is tried again.
    const users = await this.#readAgain(this.#file);
    if (look < this.#latest) return; // A later look was faster.
    this.#latest = look;
    this.#ofFile = users;
    this.#version = version;
    this.#decoy = undefined;
  }

  async #readAgain(file: string): Promise<Users | undefined> {
    try {
      const users = await readUsers(file);
      this.#log.info({ users: users.size }, 'the list of users was read again');
      this.#fault = undefined;
      return users;
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#fault)
        this.#log.error({ err: error }, 'the list of users cannot be read: nobody of it is let in');
      this.#fault = message;
      return undefined;
    }
  }
}

/**
 * A line of the list for a user with this password.
 *
 * @example
 * const line = await createUserLine('ada', 'admin', password); // ada:admin:$scrypt$ln=15,r=8,p=3$...
 * @throws MillraceError OPTIONS_INVALID for a name or a role that there is not, or a password that is too short
 */
export async function createUserLine(name: string, role: string, password: string): Promise<string> {
  if (password.length < LEAST_PASSWORD_LENGTH)
    throw new MillraceError('OPTIONS_INVALID', `a password has ${LEAST_PASSWORD_LENGTH} characters at least`, {});
  const line = `${name}:${role}:${await hashPassword(password)}`;
  const fault = userOf(line);
  if (typeof fault === 'string') throw new MillraceError('OPTIONS_INVALID', fault, {});
  return line;
}

/** What differs after any change, also after a mount of secrets was replaced. */
async function versionOf(file: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join('.');
  } catch (error) {
    return `cannot be looked at: ${(error as NodeJS.ErrnoException).code}`;
  }
}

async function readUsers(file: string): Promise<Users> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw invalid(`usersFile: ${file} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  return usersOf(linesOf(text), 'usersFile');
}

/** A JSON list of such lines, or lines, where empty ones and those that begin with `#` say nothing. */
function linesOf(text: string): readonly string[] {
  if (!text.trimStart().startsWith('['))
    return text
      .split(/\r?\n/)
      .map((line) => line.trim())
      .filter((line) => line !== '' && !line.startsWith('#'));
  const list = parsed(text);
  if (!Array.isArray(list) || !list.every((line) => typeof line === 'string'))
    throw invalid('usersFile: expected a JSON list of texts, as `millrace password` prints them');
  return list;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // What is no JSON is no list; the parser's message would repeat a part of the text.
  }
}

function usersOf(lines: readonly string[], option: string): Users {
  const users = new Map<string, KnownUser>();
  for (const [index, line] of lines.entries()) {
    const user = userOf(line);
    if (typeof user === 'string') throw invalid(`${option}[${index}]: ${user}`);
    if (users.has(keyOf(user.name))) throw invalid(`${option}[${index}]: ${user.name} is there twice`);
    users.set(keyOf(user.name), user);
  }
  return users;
}

/** The user, or why the line is none. */
function userOf(line: string): KnownUser | string {
  const [name = '', role = '', ...rest] = line.trim().split(':');
  const text = rest.join(':');
  if (!NAME.test(name)) return 'expected name:role:hash, with a name of up to 64 letters, digits and . _ @ + -';
  if (!isRole(role)) return `${name}: expected one of the roles ${ROLES.join(', ')}`;
  const hash = readHash(text);
  if (!hash) return `${name}: expected a hash as \`millrace password\` prints it, after name:${role}:`;
  return { name, role, hash, mark: createHash('sha256').update(text).digest('base64url').slice(0, 16) };
}

function isRole(text: string): text is Role {
  return (ROLES as readonly string[]).includes(text);
}

function keyOf(name: string): string {
  return name.normalize('NFKC').toLowerCase();
}

function invalid(message: string): MillraceError {
  return new MillraceError('OPTIONS_INVALID', `createDashboard: ${message}`, {});
}
