/** A client made of nothing but an OpenAPI document: what a program in another language would have. It checks each answer against the document. */
import { z } from 'zod';

type Json = Record<string, unknown>;

/** What is asked of an operation. */
export interface Call {
  params?: Record<string, string>;
  query?: Record<string, string>;
  headers?: Record<string, string>;
  body?: unknown;
}

/** An answer that the document allows. */
export interface Told {
  status: number;
  type: string;
  body: Json;
  text: string;
}

export type Client = Readonly<Record<string, (call?: Call) => Promise<Told>>>;

/** What `#/...` of the document leads to. */
export function lookUp(document: Json, ref: string): unknown {
  if (!ref.startsWith('#/')) throw new Error(`${ref} leads out of the document`);
  let at: unknown = document;
  for (const step of ref.slice(2).split('/')) {
    const key = decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof at !== 'object' || at === null || !(key in at)) throw new Error(`${ref} leads nowhere`);
    at = (at as Json)[key];
  }
  return at;
}

/** The value with references put in their place, for schemas that do not refer to themselves. */
export function inlined(document: Json, value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item: unknown) => inlined(document, item));
  if (typeof value !== 'object' || value === null) return value;
  const { $ref } = value as Json;
  if (typeof $ref === 'string') return inlined(document, lookUp(document, $ref));
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, inlined(document, inner)]));
}

/** Each operation by its operationId. */
export function clientOf(document: Json, origin: string, token: string): Client {
  const base = origin + ((document['servers'] as Array<{ url: string }>)[0]?.url ?? '');
  const operations = Object.entries(document['paths'] as Record<string, Record<string, Json>>).flatMap(
    ([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  return Object.fromEntries(
    operations.map(({ path, method, operation }) => [
      String(operation['operationId']),
      async ({ params = {}, query = {}, headers = {}, body }: Call = {}) => {
        const filled = path.replaceAll(/\{(\w+)\}/g, (_all, name: string) => encodeURIComponent(params[name] ?? ''));
        const search = Object.keys(query).length === 0 ? '' : `?${new URLSearchParams(query)}`;
        const response = await fetch(`${base}${filled}${search}`, {
          method: method.toUpperCase(),
          headers: {
            authorization: `Bearer ${token}`,
            connection: 'close',
            ...(body !== undefined && { 'content-type': 'application/json' }),
            ...headers,
          },
          ...(body !== undefined && { body: JSON.stringify(body) }),
        });
        const text = await response.text();
        const told = { status: response.status, type: response.headers.get('content-type')?.split(';')[0] ?? '', text };
        return { ...told, body: checked(document, operation, told) };
      },
    ]),
  );
}

/** The body, which must be one that the document tells of. */
function checked(
  document: Json,
  operation: Json,
  { status, type, text }: { status: number; type: string; text: string },
): Json {
  const responses = operation['responses'] as Json;
  const response = responses[status] === undefined ? undefined : (inlined(document, responses[status]) as Json);
  const content = (response?.['content'] as Record<string, Json> | undefined)?.[type];
  if (!content)
    throw new Error(`${String(operation['operationId'])}: the document has no ${status} of ${type}: ${text}`);
  if (!type.endsWith('json')) return {};
  const body: unknown = JSON.parse(text);
  z.fromJSONSchema(content['schema'] as Json).parse(body);
  return body as Json;
}
