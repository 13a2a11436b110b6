/** How templates are called. A name is a part of a path, so it cannot lead out of its folder. */

export const NAME_FORM = 'a name such as welcome or de/welcome: letters, digits, - and _, with / between folders';
export const TEMPLATE_NAME: RegExp = /^(?=.{1,100}$)[\p{L}\p{N}][\p{L}\p{N}_-]*(?:\/[\p{L}\p{N}][\p{L}\p{N}_-]*)*$/u;
