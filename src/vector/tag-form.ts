/**
 * Tags as both engines store and compare them.
 *
 * The FILTER language of vector sets has no way to write a quote or a backslash in a string. A TAG field of the Query Engine splits at its
 * separator and drops spaces at either end. So what either would trip over is percent-encoded where it is stored and where it is asked for,
 * and comparing encoded tags is comparing tags.
 */

/** Between the tags of one field in a hash. No encoded tag has it. */
export const TAG_SEPARATOR = '|';

const SPECIAL = /[%"'\\|,\p{Cc}\p{Surrogate}]|^ +| +$/gu;

/** Different tags have different forms. A lone half of a surrogate pair would leave as the same bytes as any other. */
export function encodeTag(tag: string): string {
  return tag.replaceAll(SPECIAL, (found) => Array.from(found, encodeChar).join(''));
}

/** The tag that encodeTag() has written. */
export function decodeTag(form: string): string {
  return form.replaceAll(/%(D[89A-F][0-9A-F]{2}|[0-9A-F]{2})/g, (_all, code: string) =>
    String.fromCharCode(Number.parseInt(code, 16)),
  );
}

function encodeChar(char: string): string {
  return `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
}
