// The page as a whole: which pair is next, what the keys do, colors, help.

const THEMES = ['system', 'light', 'dark'];
const SKIPS = ['I cannot judge this', 'A text is cut or unreadable', 'I know this repository or who wrote it', 'It should not be in the data'];
let page = null;

/** The packed JSON: deflated, in base64, in an element that runs nothing. */
async function unpack(id) {
  const packed = atob(byId(id).textContent);
  const bytes = Uint8Array.from(packed, character => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'))).json();
}

const remembered = name => {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
};
const remember = (name, value) => {
  try {
    localStorage.setItem(name, value);
  } catch { /* A browser that keeps nothing; the votes say so. */ }
};

function showNext() {
  const next = page.items.findIndex(item => !voteOn(item));
  if (next < 0) showDone();
  else showItem(next);
}

function showItem(place) {
  byId('done').hidden = true;
  byId('ballot').hidden = false;
  drawBallot(page.items[place], place + 1);
  showProgress();
}

function showProgress() {
  const answered = page.items.filter(voteOn).length;
  byId('bar').max = page.items.length;
  byId('bar').value = answered;
  byId('count').textContent = `${answered} of ${page.items.length}`;
}

function showDone() {
  ballot.item = null;
  byId('ballot').hidden = true;
  byId('done').hidden = false;
  const votes = page.items.map(voteOn).filter(Boolean);
  const minutes = votes.reduce((sum, vote) => sum + vote.seconds, 0) / 60;
  byId('done').replaceChildren(el('h2', {}, page.items.length ? 'All pairs are answered. Thank you.' : 'There is nothing to vote on.'),
    el('p', {}, `${count(votes.length)} votes, ${minutes.toFixed(1)} minutes. `,
      page.post ? 'They are with the server once the line above says so; then close this page.'
        : 'They are in this browser only: download them and hand the file over.'),
    el('p', {}, 'u takes you back to your last vote.'));
  byId('done').focus();
  showProgress();
}

function vote(skipped) {
  const { item, choices } = ballot;
  const complete = page.dimensions.every(({ name }) => name in choices);
  if (!item) return;
  if (!skipped && !complete) {
    byId('state').textContent = 'Choose first: 1 first better, 2 second better, 0 equal.';
    byId('single').open = Object.keys(choices).length > 0 || byId('single').open;
    return;
  }
  castVote({ id: item.id, pair: item.pair, rater: page.rater, choices: skipped ? null : { ...choices }, skipped: skipped ?? '',
    reason: byId('note').value.trim(), seconds: Math.min(3600, seconds()), at: now(voteOn(item)?.at), saved: false });
  showNext();
}

/** The time, after that of the vote which it replaces: clocks are set back at times. */
function now(before) {
  const time = Date.now();
  return new Date(before ? Math.max(time, Date.parse(before) + 1) : time).toISOString();
}

/** Back to the pair voted on last before the one on the screen. */
function goBack() {
  const limit = ballot.item && voteOn(ballot.item) ? voteOn(ballot.item).at : '9';
  const voted = page.items.map((item, place) => [voteOn(item)?.at ?? '', place]).filter(([at]) => at && at < limit);
  if (voted.length) showItem(voted.sort().at(-1)[1]);
}

function toggleHistory() {
  const aside = byId('history');
  aside.hidden = !aside.hidden;
  byId('open').setAttribute('aria-expanded', !aside.hidden);
  byId('ballot').classList.toggle('with-history', !aside.hidden);
  aside.scrollTop = aside.scrollHeight;
}

function openSkip() {
  if (!ballot.item) return;
  byId('other').value = '';
  for (const radio of document.querySelectorAll('#reasons input')) radio.checked = false;
  byId('skipping').showModal();
}

const shortcuts = {
  '1': () => chooseAll(1), '2': () => chooseAll(2), '0': () => chooseAll(0),
  u: goBack, s: openSkip, h: toggleHistory, '?': () => byId('help').showModal(), n: () => byId('note').focus(),
  d: () => {
    ballot.marks = !ballot.marks;
    drawPair();
    drawChoices();
  },
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector('dialog[open]')) return;
  const typing = event.target.matches?.('input:not([type=radio]), textarea');
  if (event.key === 'Escape') {
    if (typing) byId('ballot').focus();
    else if (!byId('history').hidden) toggleHistory();
  } else if (event.key === 'Enter') {
    if (event.target.closest?.('button, summary')) return;
    event.preventDefault();
    if (!event.repeat) vote();
  } else if (!typing && byId('shortcuts').checked && !event.repeat) {
    const dimension = Object.keys(KEYS).find(name => KEYS[name] === event.key);
    const act = shortcuts[event.key] ?? (dimension && (() => turnChoice(dimension)));
    if (!act || (!ballot.item && event.key !== 'u' && event.key !== '?')) return;
    event.preventDefault();
    act();
  }
}

function setTheme(name) {
  const theme = THEMES.includes(name) ? name : 'system';
  if (theme === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  byId('theme').setAttribute('aria-label', `Colors: ${theme === 'system' ? 'as the system' : theme}`);
  byId('theme').dataset.name = theme;
}

function listen() {
  addEventListener('keydown', onKey);
  document.addEventListener('visibilitychange', onVisibility);
  // A button pressed by mouse keeps no focus: Enter is meant to save.
  addEventListener('click', event => event.detail && event.target.closest?.('button, label')?.closest('#voting, #context') && !event.target.matches('input') && document.activeElement.blur());
  byId('voting').addEventListener('submit', event => {
    event.preventDefault();
    vote();
  });
  byId('back').addEventListener('click', goBack);
  byId('skip').addEventListener('click', openSkip);
  byId('open').addEventListener('click', toggleHistory);
  byId('download').addEventListener('click', download);
  byId('keys').addEventListener('click', () => byId('help').showModal());
  byId('stay').addEventListener('click', () => byId('skipping').close());
  byId('skip-form').addEventListener('submit', () => vote(byId('other').value.trim() || document.querySelector('#reasons input:checked')?.value || 'no reason given'));
  byId('reasons').append(...SKIPS.map(value => el('label', {}, el('input', { type: 'radio', name: 'why', value }), value)));
  byId('theme').addEventListener('click', () => {
    setTheme(THEMES[(THEMES.indexOf(byId('theme').dataset.name) + 1) % THEMES.length]);
    remember('duel-theme', byId('theme').dataset.name);
  });
  byId('shortcuts').addEventListener('change', () => remember('duel-shortcuts', byId('shortcuts').checked ? 'on' : 'off'));
  addEventListener('beforeunload', event => waiting().length && !outbox.kept && event.preventDefault());
}

async function start() {
  setTheme(remembered('duel-theme'));
  byId('shortcuts').checked = remembered('duel-shortcuts') !== 'off';
  page = await unpack('data');
  buildChoices();
  byId('single').open = innerWidth > 820;
  listen();
  openOutbox();
  showNext();
  document.documentElement.dataset.ready = 'yes';
}

start();
