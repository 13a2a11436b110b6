// What Bull Board's page lacks for those who do not see it: buttons that are an icon have a tooltip in the place of a name, and only while the
// pointer is there. Its icons are told by their class; of an icon that is not in the table the name of the icon is read.
/** @type {Record<string, string>} */
const NAMES = {
  'arrow-up-down': 'Change priority',
  'calendar-clock': 'Reschedule',
  'corner-up-left': 'Promote',
  'ellipsis-vertical': 'More actions',
  'list-x': 'Remove unprocessed children',
  'refresh-cw': 'Retry',
  'trash-2': 'Clean',
  copy: 'Copy',
  files: 'Duplicate',
  maximize: 'Full screen',
  minimize: 'Leave full screen',
  pencil: 'Update data',
  settings: 'Settings',
};

/** @param {Element} button */
function nameOf(button) {
  const icons = [...(button.querySelector('svg.lucide')?.classList ?? [])].map((one) => one.replace('lucide-', ''));
  const known = icons.map((icon) => NAMES[icon]).find((name) => name !== undefined);
  return known ?? icons.at(-1)?.replaceAll('-', ' ') ?? '';
}

/** @param {Element} root */
function mend(root) {
  for (const button of root.querySelectorAll('button:not([aria-label], [title])')) {
    const name = button.textContent?.trim() === '' ? nameOf(button) : '';
    if (name !== '') button.setAttribute('aria-label', name);
  }
  // The logo of Redis, on the button that tells of the server.
  for (const logo of root.querySelectorAll('svg[role="img"]:not([aria-label])')) {
    logo.setAttribute('aria-label', 'Redis');
    logo.closest('button')?.setAttribute('aria-label', 'Redis details');
  }
  // A list that is called a navigation is no list any more, so that its items are of none.
  for (const list of root.querySelectorAll('ul[role="navigation"]')) list.removeAttribute('role');
  // What scrolls to the side can be reached, so that the arrow keys scroll it.
  for (const part of root.querySelectorAll('[class*="tableScroll-"]:not([tabindex])'))
    part.setAttribute('tabindex', '0');
}

let isDue = false;
new MutationObserver(() => {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    mend(document.body);
  });
}).observe(document.body, { childList: true, subtree: true });
mend(document.body);
