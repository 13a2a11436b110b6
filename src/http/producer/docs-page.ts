/**
 * `GET /docs`: the OpenAPI document as a page for people.
 *
 * Made on the server, of the document alone: no script, nothing of another host, and a policy that would let none in.
 */
import { createHash } from 'node:crypto';
import type { JsonSchema } from './json-schema.ts';
import type { OpenApiDocument } from './openapi.ts';

const STYLE = `
:root { color-scheme: light dark; --line: light-dark(#d8dce2, #363c46); --quiet: light-dark(#59636e, #9aa4b2); --soft: light-dark(#f5f7f9, #1b2027); }
body { font: 16px/1.55 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 2rem 1.25rem 4rem; color: light-dark(#1d232b, #e4e8ee); background: light-dark(#fff, #12161c); }
h1 { margin: 0; } h2 { margin: 3rem 0 0; border-bottom: 1px solid var(--line); } h3 { margin: 2rem 0 .25rem; font-size: 1rem; }
a { color: light-dark(#0b57b0, #7db4ff); } p, dl { margin: .4rem 0; } nav ul { columns: 16rem; padding-left: 1.1rem; }
code, pre { font: .875rem/1.5 ui-monospace, monospace; } pre { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .75rem 1rem; overflow: auto; }
.method { font-weight: 700; } .quiet { color: var(--quiet); } dt { float: left; clear: left; width: 3.5rem; font-weight: 600; } dd { margin-left: 4rem; }
summary { cursor: pointer; }
`;

/** What the page may load: its own style, and nothing else. */
export const DOCS_POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

interface Operation {
  operationId: string;
  summary: string;
  description?: string;
  tags: string[];
  requestBody?: { content: Record<string, { schema: JsonSchema; example?: unknown }> };
  responses: Record<string, { description?: string; $ref?: string }>;
}

interface Place {
  method: string;
  path: string;
  operation: Operation;
}

/** The page, as HTML. */
export function docsPage(document: OpenApiDocument): string {
  const { title, version, description } = document.info;
  const places = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]): Place => ({ method, path, operation: operation as Operation })),
  );
  const tags = [...new Set(places.map(({ operation }) => operation.tags[0] ?? ''))];
  const links = tags.map((tag) => `<li><a href="#${escape(tag)}">${escape(tag)}</a></li>`).join('');
  const sections = tags.map((tag) => {
    const own = places.filter(({ operation }) => operation.tags[0] === tag);
    return `<h2 id="${escape(tag)}">${escape(tag)}</h2>${schemasOf(document, tag)}${own.map((place) => section(document, place)).join('')}`;
  });
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
    `<title>${escape(title)}</title><style>${STYLE}</style></head><body><main>`,
    `<h1>${escape(title)}</h1><p class="quiet">Version ${escape(version)}. <a href="openapi.json">OpenAPI document</a></p>`,
    `<p>${texts(description)}</p><p>Each request bears an API key: <code>Authorization: Bearer mr_...</code></p>`,
    `<nav aria-label="Contents"><ul>${links}</ul></nav>${sections.join('')}</main></body></html>`,
  ].join('');
}

function section(document: OpenApiDocument, { method, path, operation }: Place): string {
  const { operationId, summary, description, requestBody, responses } = operation;
  const content = requestBody?.content['application/json'];
  const answers = Object.entries(responses).map(
    ([status, response]) => `<dt>${escape(status)}</dt><dd>${texts(descriptionOf(document, response))}</dd>`,
  );
  return [
    `<h3 id="${escape(operationId)}"><span class="method">${method.toUpperCase()}</span> <code>${escape(path)}</code></h3>`,
    `<p>${texts(summary)}. ${texts(description ?? '')}</p>`,
    content?.example === undefined ? '' : `<pre>${asJson(content.example)}</pre>`,
    `<details><summary>Answers</summary><dl>${answers.join('')}</dl></details>`,
  ].join('');
}

/** The schemas of a contract. */
function schemasOf({ components }: OpenApiDocument, tag: string): string {
  return ['input', 'output']
    .map((kind) => {
      const schema = components['schemas']?.[`${tag}.${kind}`];
      return schema === undefined
        ? ''
        : `<details><summary>Schema of the ${kind}</summary><pre>${asJson(schema)}</pre></details>`;
    })
    .join('');
}

function descriptionOf(
  { components }: OpenApiDocument,
  { description, $ref }: { description?: string; $ref?: string },
): string {
  if ($ref === undefined) return description ?? '';
  const shared = components['responses']?.[$ref.split('/').at(-1) ?? ''] as { description?: string } | undefined;
  return shared?.description ?? '';
}

function asJson(value: unknown): string {
  return escape(JSON.stringify(value, undefined, 2) ?? 'null');
}

/** Text, in which backquotes are code. */
function texts(text: string): string {
  return escape(text).replaceAll(/`([^`]+)`/g, '<code>$1</code>');
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escape(text: string): string {
  return text.replaceAll(/[&<>"']/g, (sign) => ENTITIES[sign] ?? '');
}
