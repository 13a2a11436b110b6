/** Who may do what: a viewer looks, an operator acts on jobs, an admin does what cannot be taken back and reads who did what. */
import type { RequestHandler } from 'express';
import { viewOf } from '../desk.ts';
import { refusePage } from '../view/refuse.tsx';

/** The weakest first; each may do what those before it may. */
export const ROLES = ['viewer', 'operator', 'admin'] as const;

/** What a user may do. */
export type Role = (typeof ROLES)[number];

/** Somebody who may sign in. */
export interface User {
  readonly name: string;
  readonly role: Role;
}

/** Whether a role suffices where another one is asked for. */
export function reaches(role: Role, needed: Role): boolean {
  return ROLES.indexOf(role) >= ROLES.indexOf(needed);
}

/** Lets only those requests pass whose user has the role or a stronger one; others get a page with 403. */
export function needs(role: Role): RequestHandler {
  return (_request, response, next) => {
    const view = viewOf(response);
    if (reaches(view.user.role, role)) next();
    else refusePage(response, 403, `This takes the role ${role}. You are signed in as ${view.user.role}.`);
  };
}
