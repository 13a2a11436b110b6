// What every page has of script: on a phone the navigation shows where one is, and the open menu closes when one looks elsewhere. Pages work
// without it.
document.querySelector('.bar [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });

const menu = document.querySelector('details.account');

if (menu instanceof HTMLDetailsElement) {
  document.addEventListener('click', (event) => {
    if (event.target instanceof Node && !menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || !menu.open) return;
    menu.open = false;
    menu.querySelector('summary')?.focus();
  });
}
