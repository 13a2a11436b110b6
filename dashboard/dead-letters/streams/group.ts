/** The group of a stream that an address names, and the filter of its letters. */
import type { Request, Response } from 'express';
import {
  isMillraceError,
  type StreamDeadLetters,
  type StreamDeathReason,
  type StreamInfo,
  type StreamLetterFilter,
} from 'millrace';
import { AUDIT_STREAM } from '../../audit/audit.ts';
import { viewOf, type Desk } from '../../desk.ts';
import { secretsOf } from '../../streams/list.ts';

/** Why an entry is a dead letter. */
export const STREAM_REASONS: readonly StreamDeathReason[] = ['attempts', 'unrecoverable', 'input', 'poison'];
export const ENTRY_ID = /^\d{1,20}-\d{1,20}$/;

/** A group that is there, with its letters. */
export interface Group {
  stream: string;
  group: string;
  letters: StreamDeadLetters;
  /** Paths of what is secret in their data. */
  secrets: readonly string[];
}

/** The streams that the reader may see: the audit is for admins. */
export async function visibleStreams({ platform }: Desk, response: Response): Promise<string[]> {
  const names = await platform.streams.known();
  return viewOf(response).may('admin') ? names : names.filter((name) => name !== AUDIT_STREAM);
}

/** Only of groups that are there: what is in an address is nobody's promise. */
export async function groupOf(desk: Desk, request: Request, response: Response): Promise<Group | undefined> {
  const stream = String(request.params['stream']);
  const group = String(request.params['group']);
  if (!(await visibleStreams(desk, response)).includes(stream)) return undefined;
  const info = await infoOf(desk, stream);
  if (!info?.groups.some(({ name }) => name === group)) return undefined;
  const letters = desk.platform.streams.deadLettersOf(stream, group);
  return { stream, group, letters, secrets: secretsOf(desk, info) };
}

/** Undefined of a stream whose key something else has taken, which must not take the page down. */
export async function infoOf({ platform }: Desk, name: string): Promise<StreamInfo | undefined> {
  try {
    return await platform.streams.inspect(name);
  } catch (error) {
    if (isMillraceError(error, 'OPTIONS_INVALID')) return undefined;
    throw error;
  }
}

/** Reads the fields by whatever gives them. */
export function filterBy(read: (name: string) => string): StreamLetterFilter {
  const reason = read('reason');
  const fingerprint = read('fingerprint');
  return {
    ...(STREAM_REASONS.some((one) => one === reason) && { reason: reason as StreamDeathReason }),
    ...(fingerprint !== '' && { fingerprint: fingerprint.slice(0, 200) }),
  };
}

export function groupPath(stream: string, group: string): string {
  return `/dead-letters/streams/${encodeURIComponent(stream)}/${encodeURIComponent(group)}`;
}
