// The list of turns: filters, search, sorting, and only those rows in the document that can be seen.

const OVERSCAN = 8;
const TEXT_CHARACTERS = 6000;
const COLUMNS = [
  { key: 'score', label: 'score', style: 'c-score', figure: true },
  { key: 'file', label: 'turn', style: 'c-file' },
  { key: 'style', label: 'action style', style: 'c-style' },
  { key: 'bucket', label: 'bucket', style: 'c-bucket' },
  ...summary.dimensions.map(name => ({ key: name, label: name, style: 'c-metric', figure: true })),
  { key: 'flips', label: 'flips', style: 'c-flips', figure: true },
  { key: 'leaking', label: 'leak', style: 'c-leak' },
];
const list = { rows: null, order: [], selected: -1, filters: {}, sort: 'score', descending: true, texts: null, ready: 0, open: null, painted: '' };
const byId = id => document.getElementById(id);

/** Set the list up over the rows. `open` is called with the row that the reader picks. */
function startList(rows, open) {
  list.rows = rows;
  list.open = open;
  byId('columns').replaceChildren(...COLUMNS.map(heading));
  byId('choices').replaceChildren(...choices());
  byId('query').addEventListener('input', () => setFilter('query', byId('query').value.trim().toLowerCase()));
  byId('more').addEventListener('click', () => byId('more').setAttribute('aria-expanded', byId('choices').classList.toggle('open')));
  byId('clear').addEventListener('click', clearFilters);
  byId('filters').addEventListener('submit', event => event.preventDefault());
  byId('rows').addEventListener('click', picked);
  addEventListener('scroll', () => requestAnimationFrame(drawRows), { passive: true });
  addEventListener('resize', () => requestAnimationFrame(drawRows));
  refresh();
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
  const names = key => [...new Set(list.rows[key])].sort();
  const select = (key, label, options) => el('label', {}, el('span', { class: 'unseen' }, label),
    el('select', { 'data-filter': key, change: event => setFilter(key, event.target.value) },
      el('option', { value: '' }, label), options.map(([value, text]) => el('option', { value }, text))));
  const least = event => setFilter('least', event.target.value);
  return [
    select('bucket', 'Any bucket', summary.buckets.map(row => [row.bucket, bucketName(row.bucket)])),
    select('style', 'Any action style', names('style').map(name => [name, oneLine(name)])),
    select('repo', 'Any repository', names('repo').map(name => [name, oneLine(name) || 'not recorded'])),
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
  if (key === 'query' && value) readTexts();
  refresh();
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
  if (filters.metric && !(rows[filters.metric][row] >= Number(filters.least || 0) && rows[filters.metric][row] !== null)) return false;
  return !filters.query || holds(row, filters.query);
}

/** True where every word of the query stands in the row, or in the replies and reasons as far as they are read. */
function holds(row, query) {
  const { rows } = list;
  const head = `${rows.file[row]} ${rows.instance_id[row]} ${rows.repo[row]} ${rows.style[row]} ${rows.license[row]} ${rows.reason[row]}`.toLowerCase();
  const text = list.texts?.[row] ?? '';
  return query.split(/\s+/).every(word => head.includes(word) || text.includes(word));
}

/** Read the replies and reasons of all turns, a block at a time, so that the page stays fluid meanwhile. */
async function readTexts() {
  if (list.texts) return;
  list.texts = [];
  for (let chunk = 0; list.texts.length < list.rows.size; chunk++) {
    for (const turn of await unpack(chunk)) {
      const reasons = turn.votes.map(vote => vote[3]).join(' ');
      const replies = ['king', 'challenger'].map(side => startOf(turn.replies[side]).slice(0, TEXT_CHARACTERS)).join(' ');
      list.texts.push(`${replies} ${reasons}`.toLowerCase());
    }
    list.ready = list.texts.length / list.rows.size;
    if (chunk % 12 === 0 && list.filters.query) refresh();
    await new Promise(resolve => setTimeout(resolve));
  }
  refresh();
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
  for (let row = 0; row < list.rows.size; row++) if (matches(row)) order.push(row);
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
  list.painted = '';
  describe();
  drawRows();
}

function describe() {
  const reading = list.filters.query && list.ready < 1 ? ` · reading replies and reasons, ${percent(list.ready)}` : '';
  byId('found').textContent = `${count(list.order.length)} of ${count(list.rows.size)} turns${reading}`;
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

const rowHeight = () => 54;

/** Put the rows that can be seen into the document, between two spacers that stand for the others. */
function drawRows() {
  if (!list.rows || byId('report').hidden) return;
  const height = rowHeight();
  const top = byId('rows').getBoundingClientRect().top;
  const first = Math.min(Math.max(Math.floor(-top / height) - OVERSCAN, 0), list.order.length);
  const last = Math.min(Math.max(Math.ceil((innerHeight - top) / height), first) + OVERSCAN, list.order.length);
  const painted = `${first}:${last}:${list.selected}`;
  if (painted === list.painted) return;
  list.painted = painted;
  const focused = byId('rows').contains(document.activeElement);
  const shown = list.order.slice(first, last).map((row, i) => rowLine(row, first + i));
  byId('rows').replaceChildren(spacer(first * height), ...shown, spacer((list.order.length - last) * height));
  if (focused) byId('rows').querySelector('.selected a')?.focus({ preventScroll: true });
}

function spacer(height) {
  const cell = el('td');
  cell.style.height = `${height}px`;
  return el('tr', { class: 'spacer', 'aria-hidden': 'true' }, cell);
}

function rowLine(row, position) {
  const { rows } = list;
  const bucket = rows.bucket[row] ?? 'none';
  const cell = (style, ...children) => el('td', { role: 'cell', class: style }, ...children);
  const leak = rows.leaking[row];
  return el('tr', { role: 'row', class: `row${position === list.selected ? ' selected' : ''}`, 'aria-rowindex': position + 2, 'data-row': row },
    cell('score figure', oneDecimal(rows.score[row])),
    cell('file', el('div', {}, el('a', { href: '#' + encodeURIComponent(rows.file[row]) }, rows.file[row])),
      el('div', { class: 'muted' }, rows.instance_id[row])),
    cell('style', rows.style[row]),
    cell('bucket', el('span', { class: `in ${bucket}` }, el('span', { class: `dot ${bucket}` }), rows.bucket[row] ?? rows.reason[row])),
    summary.dimensions.map(name => cell('metric figure', rows[name][row] === null ? '–' : rows[name][row].toFixed(0))),
    cell('flips figure', rows.flips[row]),
    cell('leak', leak === null ? el('span', { class: 'muted' }, 'unchecked') : leak ? el('b', {}, '⚑ leak') : el('span', { class: 'muted' }, 'no')));
}

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
  const height = rowHeight();
  const top = byId('rows').getBoundingClientRect().top + list.selected * height;
  if (top < 110) scrollBy(0, top - 110);
  else if (top + height > innerHeight - 20) scrollBy(0, top + height - innerHeight + 20);
  drawRows();
  byId('rows').querySelector('.selected a')?.focus({ preventScroll: true });
}
