/** A server of embeddings in this process that misbehaves as a test asks. */
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A request as it came. */
export interface EmbeddingRequest {
  readonly model: string;
  readonly input: readonly string[];
  readonly encoding_format: string;
  readonly dimensions?: number;
  readonly headers: IncomingHttpHeaders;
  readonly url: string;
}

/** Answers a request itself, or leaves it to the server with undefined. */
export type Misbehaviour = (request: EmbeddingRequest, response: ServerResponse, count: number) => unknown;

/** What a text becomes: its length, its first letter, and 1. */
export function plainVector(text: string): number[] {
  return [text.length, text.charCodeAt(0) || 0, 1];
}

export class EmbeddingServer {
  readonly requests: EmbeddingRequest[] = [];
  /** Most requests that were under way at a time. */
  peak = 0;
  misbehave: Misbehaviour = () => undefined;
  #running = 0;
  readonly #server: Server;

  constructor() {
    this.#server = createServer((incoming, response) => {
      const pieces: Buffer[] = [];
      incoming.on('data', (piece: Buffer) => pieces.push(piece));
      incoming.on('end', () => {
        const body = JSON.parse(Buffer.concat(pieces).toString()) as EmbeddingRequest;
        const request = { ...body, headers: incoming.headers, url: incoming.url ?? '' };
        this.requests.push(request);
        this.peak = Math.max(this.peak, ++this.#running);
        response.on('close', () => this.#running--);
        if (this.misbehave(request, response, this.requests.length) === undefined)
          answer(response, request.input.map(plainVector));
      });
    });
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/v1`;
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }
}

/** Answers as a server should; returns true, so that a misbehaviour may end with it. */
export function answer(response: ServerResponse, vectors: readonly unknown[]): true {
  // In the wrong order on purpose: each item says its place.
  const data = vectors.map((embedding, index) => ({ object: 'embedding', index, embedding })).toReversed();
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ object: 'list', data, usage: { total_tokens: 1 } }));
  return true;
}

/** Answers with a status and, as OpenAI does, an error as JSON. */
export function refuse(
  response: ServerResponse,
  status: number,
  message: string,
  headers: Record<string, string> = {},
): true {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify({ error: { message } }));
  return true;
}
