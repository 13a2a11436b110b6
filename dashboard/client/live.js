// Keeps a page current: what the server tells is written to the elements that are marked for it. See docs/dashboard.md, "Live".
// A tab that is hidden lets go of its connection, so that a browser with many tabs does not run out of them.

/** @typedef {[text: string, value?: number, tone?: string]} Cell */
/** @typedef {{ cells: Record<string, Cell | null>, isWhole?: boolean }} Cells */
/** @typedef {{ state: 'starting' | 'live' | 'stale', trouble?: string, ageMs?: number }} Status */

const base = document.documentElement.dataset['base'] ?? '';
const LONGEST_WAIT_MS = 30_000;
const MARKS = ['live', 'live-tone', 'live-value', 'live-show'];

/** @type {EventSource | undefined} */
let source;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let again;
let waitMs = 1_000;
let isOver = false;
/** When the newest figures were current, by performance.now(). */
let currentAt = 0;
/** @type {Map<string, Cell>} */
const known = new Map();

const badge = document.createElement('span');
badge.className = 'badge live-state';
// A screen reader is told when the state changes, and not each second of it.
const spoken = document.createElement('span');
spoken.className = 'unseen';
spoken.setAttribute('role', 'status');
badge.setAttribute('aria-hidden', 'true');
document.querySelector('header.bar .account')?.before(badge, spoken);

/** @type {Status & { isConnected: boolean }} */
const status = { state: 'starting', isConnected: false };

function showStatus() {
  const isLive = status.isConnected && status.state === 'live';
  const text = textOfStatus();
  badge.classList.toggle('tone-completed', isLive);
  badge.classList.toggle('tone-failed', !isLive && status.state === 'stale');
  badge.classList.toggle('tone-waiting', !isLive && status.state !== 'stale');
  if (spoken.textContent !== text.state) spoken.textContent = text.state;
  if (badge.textContent !== text.shown) badge.textContent = text.shown;
  badge.title = text.title;
}

/** @returns {{ state: string, shown: string, title: string }} */
function textOfStatus() {
  if (isOver) return { state: 'Signed out', shown: 'Signed out', title: 'Load the page again to sign in.' };
  if (status.isConnected && status.state === 'live')
    return { state: 'Live', shown: 'Live', title: 'The figures are current.' };
  const seconds = Math.round((performance.now() - currentAt) / 1_000);
  const since = currentAt === 0 ? '' : ` for ${seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`}`;
  if (!status.isConnected)
    return { state: 'Reconnecting', shown: `Reconnecting${since}`, title: 'The dashboard does not answer for now.' };
  if (status.state === 'starting')
    return { state: 'Starting', shown: 'Starting', title: 'The first figures are on their way.' };
  return { state: 'Stale', shown: `Stale${since}`, title: status.trouble ?? 'Nothing new was heard.' };
}

/** The elements that bear one of the attributes. @param {ParentNode} within @param {string[]} names */
function marked(within, ...names) {
  /** @type {NodeListOf<HTMLElement>} */
  const elements = within.querySelectorAll(names.map((name) => `[data-${name}]`).join(','));
  return [...elements];
}

/** Writes a cell to an element, in the way that it is marked for. @param {HTMLElement} element */
function write(element) {
  const { live, liveTone, liveValue, liveShow } = element.dataset;
  const cell = known.get(live ?? liveTone ?? liveValue ?? liveShow ?? '');
  if (liveShow !== undefined) element.hidden = !cell?.[1];
  if (!cell) return;
  const [text, value, tone] = cell;
  if (liveValue !== undefined && (element instanceof HTMLMeterElement || element instanceof HTMLProgressElement))
    element.value = value ?? 0;
  if (live === undefined && liveTone === undefined) return;
  if (element.textContent !== text) {
    element.textContent = text;
    flash(element);
  }
  if (live !== undefined) element.classList.toggle('zero', value === 0);
  if (liveTone === undefined || tone === undefined) return;
  element.className = element.className.replace(/\btone-[\w-]+/, `tone-${tone}`);
}

const still = matchMedia('(prefers-reduced-motion: reduce)');

/** Shows for a moment that a figure has changed. @param {HTMLElement} element */
function flash(element) {
  if (still.matches) return;
  element.animate([{ backgroundColor: 'var(--accent)' }, { backgroundColor: 'transparent' }], {
    duration: 900,
    easing: 'ease-out',
  });
}

function writeAll() {
  for (const element of marked(document, ...MARKS)) write(element);
}

/** What each part's cell was when the part was rendered. @type {WeakMap<HTMLElement, string>} */
const rendered = new WeakMap();

/** Fetches parts of which rows came or went. */
async function renewParts() {
  const due = marked(document, 'live-part').filter((part) => {
    const [text] = known.get(part.dataset['liveWhen'] ?? '') ?? [];
    if (text === undefined) return false;
    const before = rendered.get(part) ?? part.dataset['liveIs'];
    rendered.set(part, text);
    return before !== undefined && before !== text;
  });
  if (due.length === 0) return;
  try {
    const response = await fetch(location.href, { headers: { 'x-millrace-poll': '1', accept: 'text/html' } });
    if (!response.ok || response.redirected) return;
    const page = new DOMParser().parseFromString(await response.text(), 'text/html');
    for (const part of due) renew(part, page);
    writeAll();
  } catch {
    // Not reachable for now: with the next change it is tried again.
  }
}

/** @param {HTMLElement} part @param {Document} page */
function renew(part, page) {
  const name = part.dataset['livePart'] ?? '';
  const fresh = page.querySelector(`[data-live-part="${CSS.escape(name)}"]`);
  if (!(fresh instanceof HTMLElement)) return;
  const put = () => {
    const own = document.importNode(fresh, true);
    rendered.set(own, rendered.get(part) ?? '');
    part.replaceWith(own);
    for (const element of marked(own, ...MARKS)) write(element);
  };
  if (!isAtWork(part)) return put();
  part.querySelector(':scope > .live-changes')?.remove();
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'live-changes';
  button.textContent = 'Show the changes';
  button.addEventListener('click', put);
  part.prepend(button);
}

/** Whether somebody would lose what he does there. @param {HTMLElement} part */
function isAtWork(part) {
  return part.contains(document.activeElement) || part.querySelector('details[open], input:checked') !== null;
}

/** @param {Cells} told */
function take({ cells, isWhole = false }) {
  if (isWhole) known.clear();
  for (const [name, cell] of Object.entries(cells)) {
    if (cell) known.set(name, cell);
    else known.delete(name);
  }
  currentAt = performance.now();
  writeAll();
  void renewParts();
  document.dispatchEvent(new CustomEvent('millrace:live'));
}

function open() {
  clearTimeout(again);
  if (source || isOver || document.hidden) return;
  const opened = new EventSource(`${base}/live/events`);
  source = opened;
  opened.addEventListener('open', () => {
    waitMs = 1_000;
    status.isConnected = true;
    showStatus();
  });
  opened.addEventListener('cells', ({ data }) => take(JSON.parse(data)));
  opened.addEventListener('status', ({ data }) => {
    const { state, trouble, ageMs } = /** @type {Status} */ (JSON.parse(data));
    Object.assign(status, { state, trouble });
    if (ageMs !== undefined) currentAt = performance.now() - ageMs;
    showStatus();
  });
  opened.addEventListener('signed-out', () => {
    isOver = true;
    close();
  });
  opened.addEventListener('error', () => {
    status.isConnected = false;
    showStatus();
    // What the server refuses, the browser does not try again.
    if (opened.readyState !== EventSource.CLOSED || source !== opened) return;
    close();
    again = setTimeout(open, waitMs);
    waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
  });
}

function close() {
  clearTimeout(again);
  source?.close();
  source = undefined;
  status.isConnected = false;
  showStatus();
}

document.addEventListener('visibilitychange', () => {
  if (document.hidden) close();
  else open();
});
// A page that the browser keeps for the way back has no connection meanwhile.
addEventListener('pagehide', close);
addEventListener('pageshow', open);
setInterval(() => {
  if (!document.hidden) showStatus();
}, 1_000);
showStatus();
open();
