/** A visitor of the shop: a browser with a cookie and an address of its own. */

/** What visitors have met. */
export interface Tally {
  requests: number;
  /** Answered with 4xx: a wrong password, an order that is shipped already. */
  refused: number;
  /** Of them: too many at once. */
  limited: number;
  /** Answered with 5xx, or not at all. */
  failed: number;
  orders: number;
}

/** What a request came to. */
export interface Answer {
  readonly status: number;
  readonly text: string;
  /** What its JSON says, if that is an object. */
  readonly body: Readonly<Record<string, unknown>>;
}

const WITHIN_MS = 10_000;

export class Visitor {
  readonly id: string;
  readonly #shop: string;
  readonly #address: string;
  readonly #tally: Tally;
  #cookie = '';
  password = '';

  constructor(id: string, address: string, shop: string, tally: Tally) {
    this.id = id;
    this.#address = address;
    this.#shop = shop;
    this.#tally = tally;
  }

  get isSignedIn(): boolean {
    return this.#cookie !== '';
  }

  async ask(method: string, path: string, body?: object, headers: Record<string, string> = {}): Promise<Answer> {
    this.#tally.requests++;
    try {
      const response = await fetch(`${this.#shop}${path}`, {
        method,
        headers: { ...this.#headers(), 'content-type': 'application/json', ...headers },
        ...(body && { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(WITHIN_MS),
      });
      for (const line of response.headers.getSetCookie()) this.#cookie = line.split(';')[0] ?? '';
      const { status } = response;
      if (status >= 500) this.#tally.failed++;
      else if (status >= 400) this.#tally.refused++;
      if (status === 429) this.#tally.limited++;
      if (status === 401) this.#cookie = ''; // Signed out everywhere by a new password.
      const text = await response.text();
      return { status, text, body: text.startsWith('{') ? (JSON.parse(text) as Answer['body']) : {} };
    } catch {
      this.#tally.failed++; // The shop closes, or takes too long.
      return { status: 0, text: '', body: {} };
    }
  }

  async signIn(): Promise<Answer> {
    return this.ask('POST', '/sign-in', { id: this.id, password: this.password });
  }

  /** A tab that is shown what happens to the visitor's orders, until the signal. */
  async watch(signal: AbortSignal, show: (text: string) => void = () => undefined): Promise<void> {
    this.#tally.requests++;
    try {
      const { body } = await fetch(`${this.#shop}/events`, { headers: this.#headers(), signal });
      for await (const piece of body ?? []) show(new TextDecoder().decode(piece));
    } catch {
      return; // The tab is closed.
    }
  }

  #headers(): Record<string, string> {
    return { cookie: this.#cookie, 'x-forwarded-for': this.#address, 'user-agent': 'a browser of the demo' };
  }
}
