// The list of turns: filters, search, sorting, and pages of rows, all of which the browser's own search finds.

const PAGE = 300;
// Rows that are drawn at once; the page's others follow after the next frame, so that a key in the search is answered first.
const AT_ONCE = 30;
const LATER = 60;
const SHOWN_MS = 200;
// What search looks at stays unpacked for so many portions, the best 40,000 turns; beyond them it is read for each search.
const KEPT_TEXTS = 100;
const COLUMNS = [
  { key: 'score', label: 'score', style: 'c-score', figure: true },
  { key: 'title', label: 'turn', style: 'c-file' },
  { key: 'ours', label: 'what each did', style: 'c-did' },
  { key: 'style', label: 'style', style: 'c-style' },
  { key: 'bucket', label: 'bucket', style: 'c-bucket' },
  ...summary.dimensions.map(name => ({ key: `metric ${name}`, label: name, style: 'c-metric', figure: true })),
  { key: 'flips', label: 'flips', style: 'c-flips', figure: true },
  { key: 'leaking', label: 'leak', style: 'c-leak' },
];
const list = { rows: null, order: [], selected: -1, filters: {}, sort: 'score', descending: true, hits: new Set(), searched: 0, open: null, page: 0 };
const byId = id => document.getElementById(id);
const metric = (name, row) => list.rows[`metric ${name}`][row];

/** Set the list up over the first part of the rows. `open` is called with the row that the reader picks. */
async function startList(open) {
  list.rows = await readRows(0);
  list.open = open;
  numberRows();
  byId('columns').replaceChildren(...COLUMNS.map(heading));
  byId('choices').replaceChildren(...choices());
  byId('query').addEventListener('input', () => setFilter('query', byId('query').value.trim().toLowerCase()));
  byId('more').addEventListener('click', () => byId('more').setAttribute('aria-expanded', byId('choices').classList.toggle('open')));
  byId('clear').addEventListener('click', clearFilters);
  byId('filters').addEventListener('submit', event => event.preventDefault());
  byId('rows').addEventListener('click', picked);
  refresh();
}

/** The rows of the other parts, a part at a time, so that the page stays fluid meanwhile. */
async function readFurtherRows() {
  for (let part = 1; part < data.parts; part++) {
    await new Promise(resolve => setTimeout(resolve));
    const further = await readRows(part);
    for (const [name, column] of Object.entries(further)) list.rows[name].push(...column);
  }
  numberRows();
  refresh();
}

function numberRows() {
  list.rows.number = new Map(list.rows.file.map((file, row) => [file, row]));
}

function heading(column) {
  const sortBy = () => {
    list.descending = list.sort === column.key ? !list.descending : Boolean(column.figure);
    list.sort = column.key;
    refresh();
  };
  return el('th', { role: 'columnheader', scope: 'col', class: `${column.style}${column.figure ? ' figure' : ''}`, 'data-key': column.key },
    el('button', { type: 'button', click: sortBy }, column.label));
}

/** The filter controls; a repository list of thousands stays usable because a select is typed into. */
function choices() {
  const select = (key, label, options) => el('label', {}, el('span', { class: 'unseen' }, label),
    el('select', { 'data-filter': key, change: event => setFilter(key, event.target.value) },
      el('option', { value: '' }, label), options.map(([value, text]) => el('option', { value }, text))));
  const least = event => setFilter('least', event.target.value);
  return [
    select('bucket', 'Any bucket', summary.buckets.map(row => [row.bucket, bucketName(row.bucket)])),
    select('style', 'Any action style', summary.styles.map(name => [name, oneLine(name)])),
    select('repo', 'Any repository', summary.repositories.map(name => [name, oneLine(name) || 'not recorded'])),
    select('leak', 'Leaks and clean', [['true', 'leaking'], ['false', 'clean'], ['null', 'not checked']]),
    select('flips', 'Any flips', [['0', 'no flip'], ['1', 'at least one flip']]),
    select('metric', 'Any dimension', summary.dimensions.map(name => [name, `${name} ≥`])),
    el('label', {}, el('span', { class: 'unseen' }, 'Least value of the dimension, 0 to 100'),
      el('input', { type: 'number', min: 0, max: 100, step: 5, placeholder: '0 to 100', 'data-filter': 'least', input: least })),
  ];
}

function setFilter(key, value) {
  list.filters[key] = value;
  const control = document.querySelector(`[data-filter=${key}]`);
  if (control) control.value = value;
  if (key === 'query' && value) search(value);
  else refresh();
}

function clearFilters() {
  list.filters = {};
  byId('query').value = '';
  for (const control of document.querySelectorAll('[data-filter]')) control.value = '';
  refresh();
}

function matches(row) {
  const { rows, filters } = list;
  if (filters.bucket && (rows.bucket[row] ?? 'none') !== filters.bucket) return false;
  if (filters.style && rows.style[row] !== filters.style) return false;
  if (filters.repo && rows.repo[row] !== filters.repo) return false;
  if (filters.leak && String(rows.leaking[row]) !== filters.leak) return false;
  if (filters.flips && (rows.flips[row] > 0) !== (filters.flips === '1')) return false;
  if (filters.metric && !(metric(filters.metric, row) >= Number(filters.least || 0) && metric(filters.metric, row) !== null)) return false;
  return !filters.query || list.hits.has(rows.place[row]);
}

/** Find the turns that have every word of `query` in their names, replies or reasons: the best first, a portion at a time. */
async function search(query) {
  const words = query.split(/\s+/);
  list.hits = new Set();
  let shown = performance.now();
  for (let portion = 0; portion < data.portions; portion++) {
    const found = await texts(portion);
    if (list.filters.query !== query) return;
    found.forEach((text, i) => words.every(word => text.includes(word)) && list.hits.add(portion * data.portion_turns + i));
    list.searched = (portion + 1) / data.portions;
    if (portion > 0 && performance.now() - shown < SHOWN_MS && list.searched < 1) continue;
    refresh();
    await new Promise(resolve => setTimeout(resolve));
    shown = performance.now();
  }
}

const keptTexts = new Map();

async function texts(portion) {
  const found = keptTexts.get(portion) ?? await unpack(`texts-${portion}`);
  if (keptTexts.size < KEPT_TEXTS) keptTexts.set(portion, found);
  return found;
}

function value(row) {
  const column = list.rows[list.sort];
  const found = list.sort === 'bucket' ? column[row] ?? '~' : column[row];
  return found === true ? 1 : found === false ? 0 : found;
}

/** Filter and sort anew. Turns without a value come last, whatever the direction. */
function refresh() {
  if (!list.rows) return;
  const before = list.order[list.selected];
  const order = [];
  for (let row = 0; row < list.rows.file.length; row++) if (matches(row)) order.push(row);
  if (list.sort !== 'score' || !list.descending) {
    const way = list.descending ? -1 : 1;
    const keys = new Map(order.map(row => [row, value(row)]));
    const compare = new Intl.Collator('en', { numeric: true }).compare;
    order.sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      return way * (typeof x === 'string' ? compare(x, y) : x - y) || a - b;
    });
  }
  list.order = order;
  list.selected = before === undefined ? -1 : order.indexOf(before);
  list.page = Math.floor(Math.max(list.selected, 0) / PAGE);
  describe();
  drawRows();
}

function describe() {
  const listed = list.rows.file.length < summary.turns ? ` · reading the list, ${percent(list.rows.file.length / summary.turns)}` : '';
  const searched = list.filters.query && list.searched < 1 ? ` · reading replies and reasons, ${percent(list.searched)}` : '';
  byId('found').textContent = `${count(list.order.length)} of ${count(summary.turns)} turns${listed}${searched}`;
  byId('nothing').hidden = list.order.length > 0;
  byId('list').hidden = list.order.length === 0;
  byId('list').setAttribute('aria-rowcount', list.order.length + 1);
  for (const head of document.querySelectorAll('#columns th')) {
    if (head.dataset.key === list.sort) head.setAttribute('aria-sort', list.descending ? 'descending' : 'ascending');
    else head.removeAttribute('aria-sort');
  }
  const set = Object.entries(list.filters).filter(([key, chosen]) => chosen && key !== 'query' && key !== 'least').length;
  byId('more').textContent = set ? `Filters (${set})` : 'Filters';
  for (const control of document.querySelectorAll('[data-filter]')) control.classList.toggle('set', Boolean(control.value));
}

/** Put the page's rows into the document; `all` of them for the printer. */
function drawRows(all = false) {
  if (!list.rows || byId('report').hidden) return;
  const first = all ? 0 : list.page * PAGE;
  const last = all ? list.order.length : first + PAGE;
  const focused = byId('rows').contains(document.activeElement);
  const lines = (from, to) => list.order.slice(from, to).map((row, i) => rowLine(row, from + i));
  const soon = all ? last : Math.max(first + AT_ONCE, list.selected + 2);
  byId('rows').replaceChildren(...lines(first, Math.min(soon, last)));
  clearTimeout(list.later);
  if (soon < last) list.later = setTimeout(() => byId('rows').append(...lines(soon, last)), LATER);
  drawPages();
  if (focused) byId('rows').querySelector('.selected a')?.focus({ preventScroll: true });
}

function drawPages() {
  const pages = Math.ceil(list.order.length / PAGE);
  const turnTo = page => {
    list.page = page;
    drawRows();
    byId('turns').scrollIntoView();
  };
  const button = (label, page) => el('button', { type: 'button', disabled: page < 0 || page >= pages, click: () => turnTo(page) }, label);
  byId('pages').hidden = pages < 2;
  const last = Math.min((list.page + 1) * PAGE, list.order.length);
  byId('pages').replaceChildren(button('← Before', list.page - 1),
    el('span', { class: 'muted figure' }, `${count(list.page * PAGE + 1)} to ${count(last)} of ${count(list.order.length)}`), button('After →', list.page + 1));
}

function rowLine(row, position) {
  const { rows } = list;
  const bucket = rows.bucket[row] ?? 'none';
  const cell = (style, ...children) => el('td', { role: 'cell', class: style }, ...children);
  const leak = rows.leaking[row];
  return el('tr', { role: 'row', class: `row${position === list.selected ? ' selected' : ''}`, 'aria-rowindex': position + 2, 'data-row': row },
    cell('score figure', oneDecimal(rows.score[row]), meter(bucket, rows.score[row] ?? 0)),
    cell('file', el('div', {}, el('a', { href: '#' + encodeURIComponent(rows.file[row]), title: oneLine(rows.title[row]) }, rows.title[row] || rows.file[row])),
      el('div', { class: 'muted' }, el('span', {}, rows.repo[row] || rows.instance_id[row]), ' · ', el('span', { class: 'mono' }, rows.file[row]))),
    cell('did', did('challenger', rows.ours[row]), did(summary.opponent, rows.theirs[row])),
    cell('style', rows.style[row]),
    cell('bucket', el('span', { class: `in ${bucket}` }, el('span', { class: `dot ${bucket}` }), rows.bucket[row] ?? rows.reason[row])),
    summary.dimensions.map(name => cell('metric figure', metric(name, row) === null ? '–' : metric(name, row).toFixed(0))),
    cell('flips figure', rows.flips[row]),
    cell('leak', leak === null ? el('span', { class: 'muted' }, 'unchecked') : leak ? el('b', {}, '⚑ leak') : el('span', { class: 'muted' }, 'no')));
}

/** The bar's length goes through the style object: the page's policy allows no style attributes. */
function meter(bucket, score) {
  const bar = el('span', { class: `meter ${bucket}`, 'aria-hidden': 'true' });
  bar.style.setProperty('--score', score);
  return bar;
}

const did = (side, line) => el('div', {}, el('span', { class: side === 'challenger' ? 'who ours' : 'who', title: side }, side[0].toUpperCase()),
  line ? el('code', { title: oneLine(line) }, line) : el('span', { class: 'muted' }, 'no command'));

function picked(event) {
  const line = event.target.closest('tr.row');
  if (!line || event.metaKey || event.ctrlKey || getSelection().toString()) return;
  event.preventDefault();
  list.selected = list.order.indexOf(Number(line.dataset.row));
  list.open(Number(line.dataset.row));
}

/** Move the selection by `step` and bring it into view; returns the row, or null at the ends. */
function move(step) {
  const next = list.selected < 0 ? 0 : list.selected + step;
  if (next < 0 || next >= list.order.length) return null;
  list.selected = next;
  if (!byId('report').hidden) showSelected();
  return list.order[next];
}

function showSelected() {
  list.page = Math.floor(list.selected / PAGE);
  drawRows();
  const line = byId('rows').querySelector('.selected');
  const box = line.getBoundingClientRect();
  if (box.top < 110) scrollBy(0, box.top - 110);
  else if (box.bottom > innerHeight - 20) scrollBy(0, box.bottom - innerHeight + 20);
  line.querySelector('a')?.focus({ preventScroll: true });
}
