// One pair on the screen: what the agent saw last, the two replies, the dimensions.

const KEYS = { correctness: 'c', grounding: 'g', progress: 'p', protocol: 'r', efficiency: 'e' };
const CHOICES = [[1, 'First'], [0, 'Equal'], [2, 'Second']];
const ROLES = { system: 'Instructions', user: 'Shown to the agent', assistant: 'The agent', tool: 'Output' };
const ballot = { item: null, choices: {}, marks: true, started: 0, away: 0, hiddenAt: 0 };

const byId = id => document.getElementById(id);

function drawBallot(item, number) {
  const before = voteOn(item);
  Object.assign(ballot, { item, choices: { ...(before?.choices ?? {}) }, started: performance.now(), away: 0 });
  ballot.hiddenAt = performance.now();
  byId('title').textContent = `Pair ${number} of ${page.items.length}`;
  drawContext(item);
  drawPair();
  byId('note').value = before?.reason ?? '';
  drawChoices();
  byId('ballot').focus({ preventScroll: true });
}

function drawContext(item) {
  const messages = page.histories[item.history].map(place => page.messages[place]);
  const [role, ...text] = messages.at(-1);
  byId('context-title').textContent = role === 'assistant' ? 'What the agent said last' : 'What the agent saw last';
  const latest = byId('latest');
  latest.replaceChildren(...cut(text));
  latest.scrollTop = 0;
  byId('history').replaceChildren(el('h3', {}, `The conversation so far, ${count(messages.length)} messages`),
    ...messages.map(([who, ...said]) => el('section', {}, el('h4', {}, ROLES[who] ?? who), el('pre', {}, cut(said)))));
  byId('history').scrollTop = byId('history').scrollHeight;
}

/** A text, or its start and its end with what is left out named between them. */
function cut(parts) {
  if (parts.length === 1) return [el('span', {}, parts[0])];
  return [el('span', {}, parts[0]), el('span', { class: 'gap' }, `${count(parts[1])} characters are not on this page.`), el('span', {}, parts[2])];
}

function drawPair() {
  const [first, second] = ballot.item.texts;
  const diff = ballot.marks ? replyDiff(first, second) : { left: [], right: [] };
  const same = first === second ? [el('p', { class: 'same' }, 'Both replies are the same, to the letter.')] : [];
  byId('pair').replaceChildren(...same, reply(1, 'First reply', first, diff.left), reply(2, 'Second reply', second, diff.right));
}

function reply(number, title, text, marks) {
  const printed = ballot.item.observed?.[number - 1];
  return el('article', { class: 'reply', id: `reply-${number}`, 'aria-labelledby': `reply-title-${number}` },
    el('h3', { id: `reply-title-${number}` }, el('b', { class: 'badge' }, number), title),
    el('div', { class: 'scroll', tabindex: 0 }, replyBody(text, '', marks),
      printed === undefined ? null : el('div', { class: 'printed' }, el('h4', {}, 'What its command printed when it was run'), el('pre', {}, printed))));
}

/** The buttons, once; what is chosen is only marked anew. */
function buildChoices() {
  byId('all').append(...CHOICES.map(([value, name]) => el('button', { type: 'button', 'data-all': value, click: () => chooseAll(value) },
    el('kbd', {}, value), value ? `${name} better` : 'Equal')));
  byId('dimensions').append(...page.dimensions.map(({ name, ask }) => el('fieldset', { title: ask },
    el('legend', {}, KEYS[name] ? el('kbd', {}, KEYS[name]) : null, name),
    el('span', { class: 'switch' }, CHOICES.map(([value, label]) => el('label', {},
      el('input', { type: 'radio', name, value, 'aria-label': value ? `${label} better` : label, change: () => choose(name, value) }), el('span', {}, value || '=')))))));
  byId('meanings').append(...page.dimensions.map(({ name, ask, high, low }) => el('div', {}, el('dt', {}, name),
    el('dd', {}, ask, el('small', {}, `High: ${high}. Low: ${low}.`)))));
  byId('letters').append(...page.dimensions.filter(({ name }) => KEYS[name]).flatMap(({ name }) => [el('kbd', {}, KEYS[name]), ' ']));
}

function choose(name, value) {
  ballot.choices[name] = value;
  drawChoices();
}

function chooseAll(value) {
  for (const { name } of page.dimensions) ballot.choices[name] = value;
  drawChoices();
}

/** The next choice of one dimension: first, second, equal. */
function turnChoice(name) {
  choose(name, { 1: 2, 2: 0, 0: 1 }[ballot.choices[name]] ?? 1);
}

function drawChoices() {
  const values = page.dimensions.map(({ name }) => ballot.choices[name]);
  for (const button of document.querySelectorAll('[data-all]')) {
    button.setAttribute('aria-pressed', values.every(value => value === Number(button.dataset.all)));
  }
  for (const radio of document.querySelectorAll('#dimensions input')) radio.checked = ballot.choices[radio.name] === Number(radio.value);
  for (const number of [1, 2]) {
    const wins = values.filter(value => value === number).length;
    byId(`reply-${number}`).classList.toggle('ahead', wins > values.filter(value => value === 3 - number).length);
  }
}

/** Seconds in front of this pair, without the time in which the tab was hidden. */
function seconds() {
  return Math.round((performance.now() - ballot.started - ballot.away) / 100) / 10;
}

function onVisibility() {
  if (document.hidden) ballot.hiddenAt = performance.now();
  else ballot.away += performance.now() - ballot.hiddenAt;
}
