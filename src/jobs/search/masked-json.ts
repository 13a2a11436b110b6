/**
 * Masks the secrets in a JSON text, of which the end may be missing.
 *
 * Only the beginning of a large input is fetched, and that cannot be parsed. So the text is read step by step, as far as paths to secrets lead,
 * and all else is copied as it is. A secret that the end of the text cuts through is masked too.
 */
import { after, SECRET_MARK, stepsOf, type Step } from '../../secrets.ts';

const MASK = JSON.stringify(SECRET_MARK);

/**
 * The text with `"[secret]"` in the place of each secret.
 *
 * @example
 * maskJson('{"user":"ann","card":{"number":"41', ['card.number']); // {"user":"ann","card":{"number":"[secret]"
 */
export function maskJson(text: string, secrets: readonly string[]): string {
  return secrets.length === 0 ? text : new Reader(text).read([stepsOf(secrets)]);
}

/** Reads a text once, from its beginning. Each method stands after what it has read when it returns. */
class Reader {
  readonly #text: string;
  #at = 0;
  /** The text as far as it was read. */
  #out = '';

  constructor(text: string) {
    this.#text = text;
  }

  read(steps: readonly Step[]): string {
    this.#value(steps);
    return this.#out;
  }

  #value(steps: readonly Step[]): void {
    this.#space();
    if (this.#isAtEnd) return;
    if (steps.some(({ isSecret }) => isSecret)) {
      this.#skip();
      this.#out += MASK;
      return;
    }
    const opening = this.#text[this.#at];
    if (steps.length > 0 && opening === '{') this.#members(steps);
    else if (steps.length > 0 && opening === '[') this.#items(steps);
    else this.#copy(() => this.#skip());
  }

  #members(steps: readonly Step[]): void {
    this.#copyOne();
    for (;;) {
      this.#space();
      if (this.#text[this.#at] !== '"') break; // The end of the object, or of the text.
      const from = this.#at;
      this.#copy(() => this.#skip());
      const key = this.#text.slice(from, this.#at);
      this.#space();
      if (this.#text[this.#at] !== ':') return; // The text ends here.
      this.#copyOne();
      this.#value(after(steps, keyOf(key)));
      this.#space();
      if (this.#text[this.#at] !== ',') break;
      this.#copyOne();
    }
    this.#copyOne();
  }

  #items(steps: readonly Step[]): void {
    this.#copyOne();
    for (let index = 0; ; index++) {
      this.#space();
      if (this.#isAtEnd || this.#text[this.#at] === ']') break;
      this.#value(after(steps, String(index)));
      this.#space();
      if (this.#text[this.#at] !== ',') break;
      this.#copyOne();
    }
    this.#copyOne();
  }

  /** Past one value, whatever is in it. */
  #skip(): void {
    let depth = 0;
    do {
      const char = this.#text[this.#at];
      if (char === '"') {
        this.#skipString();
      } else if (char === '{' || char === '[') {
        depth++;
        this.#at++;
      } else if (char === '}' || char === ']') {
        depth--;
        this.#at++;
      } else if (depth === 0) {
        this.#skipTo(/[\s,\]}]/g);
      } else {
        this.#skipTo(/["[\]{}]/g);
      }
    } while (depth > 0 && !this.#isAtEnd);
  }

  #skipString(): void {
    for (this.#at++; !this.#isAtEnd && this.#text[this.#at] !== '"';) {
      if (this.#text[this.#at] === '\\') this.#at += 2;
      else this.#skipTo(/["\\]/g);
    }
    this.#at = Math.min(this.#at + 1, this.#text.length);
  }

  #skipTo(pattern: RegExp): void {
    pattern.lastIndex = this.#at;
    this.#at = pattern.exec(this.#text)?.index ?? this.#text.length;
  }

  #space(): void {
    this.#copy(() => this.#skipTo(/\S/g));
  }

  #copyOne(): void {
    this.#copy(() => (this.#at = Math.min(this.#at + 1, this.#text.length)));
  }

  #copy(advance: () => void): void {
    const from = this.#at;
    advance();
    this.#out += this.#text.slice(from, this.#at);
  }

  get #isAtEnd(): boolean {
    return this.#at >= this.#text.length;
  }
}

/** What is written as no key can be written is a key of nobody's. */
function keyOf(written: string): string {
  try {
    return JSON.parse(written) as string;
  } catch {
    return written;
  }
}
