// The page as a whole: list or turn by the address, keyboard, colors, help.

const THEMES = { system: 'System', light: 'Light', dark: 'Dark' };
const baseTitle = document.title;
let scrollPosition = 0;

/** Show what the address names: `#<file>` a turn, anything else the report. */
function route() {
  const file = addressedFile();
  const row = list.rows?.number.get(file);
  const atTurn = row !== undefined;
  if (atTurn && !byId('report').hidden) scrollPosition = scrollY;
  byId('report').hidden = atTurn;
  byId('turn').hidden = !atTurn;
  byId('back').hidden = !atTurn;
  if (atTurn) {
    list.selected = list.order.indexOf(row);
    scrollTo(0, 0);
    byId('turn').focus({ preventScroll: true });
    drawTurn(row);
  } else {
    view.row = -1;
    document.title = baseTitle;
    scrollTo(0, scrollPosition);
    drawRows();
    if (list.selected >= 0) byId('rows').querySelector('.selected a')?.focus({ preventScroll: true });
  }
}

function addressedFile() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return '';
  }
}

function go(row) {
  if (row !== null && row !== undefined) location.hash = encodeURIComponent(list.rows.file[row]);
}

function goBack() {
  history.pushState(null, '', location.pathname + location.search);
  route();
}

function onKey(event) {
  if (event.metaKey || event.ctrlKey || event.altKey || byId('help').open) return;
  const typing = event.target.closest?.('input, select, textarea');
  if (event.key === 'Escape') {
    if (typing) event.target.blur();
    else if (!byId('turn').hidden) goBack();
    return;
  }
  if (typing) {
    if (event.key === 'Enter' && event.target.id === 'query') {
      event.target.blur();
      if (list.order.length) {
        list.selected = 0;
        showSelected();
      }
    }
    return;
  }
  const atTurn = !byId('turn').hidden;
  const actions = {
    j: () => step(1),
    k: () => step(-1),
    Enter: () => !atTurn && document.activeElement?.closest('button, summary, a') === null && go(list.order[list.selected]),
    '/': () => {
      if (atTurn) goBack();
      byId('query').focus();
      byId('query').select();
    },
    d: () => atTurn && byId('marks').click(),
    h: () => atTurn && foldHistory(),
    f: () => atTurn && go(nextOf('flip', list.selected)),
    l: () => atTurn && go(nextOf('leak', list.selected)),
    t: () => atTurn && go(nextOf('tie', list.selected)),
    '?': () => byId('help').showModal(),
  };
  if (Object.hasOwn(actions, event.key)) {
    if (event.key !== 'Enter') event.preventDefault();
    actions[event.key]();
  }
}

function step(by) {
  if (!list.rows) return;
  const row = move(by);
  if (!byId('turn').hidden) go(row);
}

function setTheme(name) {
  if (name === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  byId('theme').setAttribute('aria-label', `Colors: ${THEMES[name].toLowerCase()}`);
  byId('theme').querySelector('span').textContent = THEMES[name];
  byId('theme').dataset.name = name;
}

/** The theme is remembered where the browser lets a page from disk remember anything. */
function startTheme() {
  let kept = null;
  try {
    kept = localStorage.getItem('duel-theme');
  } catch { /* no storage for this page */ }
  setTheme(Object.hasOwn(THEMES, kept ?? '') ? kept : 'system');
  byId('theme').addEventListener('click', () => {
    const names = Object.keys(THEMES);
    setTheme(names[(names.indexOf(byId('theme').dataset.name) + 1) % names.length]);
    try {
      localStorage.setItem('duel-theme', byId('theme').dataset.name);
    } catch { /* no storage for this page */ }
  });
}

function choose(key, value) {
  setFilter(key, value);
  byId('turns').scrollIntoView();
}

/** The banner stands at the top; once it is out of sight its short form stands in the bar. */
function watchBanner() {
  const tag = document.querySelector('.tag');
  // Where several looks come at once, the last one is true.
  new IntersectionObserver((looks) => { tag.hidden = !summary.offline || looks.at(-1).isIntersecting; }).observe(byId('stand-in'));
}

startTheme();
watchBanner();
byId('words').append(...glossaryList());
byId('save').addEventListener('click', saveTurns);
drawOverview(choose);
byId('keys').addEventListener('click', () => byId('help').showModal());
byId('back').addEventListener('click', goBack);
addEventListener('hashchange', route);
addEventListener('popstate', route);
addEventListener('keydown', onKey);
addEventListener('beforeprint', () => drawRows(true));
addEventListener('afterprint', () => drawRows());
addEventListener('DOMContentLoaded', async () => {
  await startList(go);
  if (location.hash) route();
  document.documentElement.dataset.ready = 'yes';
  await readFurtherRows();
  if (location.hash && byId('turn').hidden) route();
});
