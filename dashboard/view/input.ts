/** What came with a request. Whoever sends it may make anything of it: a text, a list, nothing. */
import type { Request } from 'express';

/** The field of a form; of several the first one, empty when there is none. */
export function field(request: Request, name: string): string {
  return fields(request, name)[0] ?? '';
}

/** All fields of that name, such as of boxes that were ticked. */
export function fields(request: Request, name: string): string[] {
  const body: unknown = request.body;
  if (typeof body !== 'object' || body === null || !Object.hasOwn(body, name)) return [];
  return texts((body as Record<string, unknown>)[name]);
}

/** A parameter of the address; of several the first one, empty when there is none. */
export function query(request: Request, name: string): string {
  return queries(request, name)[0] ?? '';
}

/** All parameters of that name. */
export function queries(request: Request, name: string): string[] {
  return Object.hasOwn(request.query, name) ? texts(request.query[name]) : [];
}

function texts(value: unknown): string[] {
  return [value].flat().filter((one) => typeof one === 'string');
}
