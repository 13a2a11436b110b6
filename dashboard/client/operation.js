// Shows how an operation gets on without loading the page again. When it has ended, the page is loaded once more, with what can be done then.
const AGAIN_AFTER_MS = 1000;

const shown = document.querySelector('#operation');

if (shown instanceof HTMLElement && shown.dataset.running) look(shown);

/** @param {HTMLElement} operation */
function look(operation) {
  setTimeout(() => {
    refresh(operation).catch(() => look(operation));
  }, AGAIN_AFTER_MS);
}

/** @param {HTMLElement} operation */
async function refresh(operation) {
  const response = await fetch(location.href, { headers: { accept: 'text/html', 'x-millrace-poll': '1' } });
  if (response.redirected) return location.reload(); // Not signed in any more.
  const page = new DOMParser().parseFromString(await response.text(), 'text/html');
  const fresh = page.querySelector('#operation');
  if (!(fresh instanceof HTMLElement) || !fresh.dataset.running) return location.reload();
  operation.replaceChildren(...fresh.childNodes);
  look(operation);
}
