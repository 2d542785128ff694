// The head of the page: the verdict, the gates, the buckets, the tables.

const SIGNS = { accepted: '✓', rejected: '✕', undecided: '?' };
const DECISIONS = { accepted: 'Challenger accepted', rejected: 'Challenger rejected', undecided: 'Undecided' };

/** Draw everything above the list. `choose` sets a filter of the list. */
function drawOverview(choose) {
  for (const sign of document.querySelectorAll('.stand-in')) sign.hidden = !summary.offline;
  document.getElementById('verdict').append(el('div', { class: 'verdict' }, headline(), gateList(), shares(choose)));
  document.getElementById('tables').append(...summary.sections.map(sectionBox));
  colorShares();
}

function headline() {
  const s = summary;
  const known = Object.hasOwn(SIGNS, s.decision) ? s.decision : 'undecided';
  const bound = s.lcb === null ? 'No bound could be computed.' : ['With ', el('strong', {}, s.level), ' confidence the margin is at least ',
    el('strong', {}, points(s.lcb)), '.'];
  return el('div', { class: known },
    el('p', { class: 'decision', 'data-sign': SIGNS[known] }, Object.hasOwn(DECISIONS, s.decision) ? DECISIONS[s.decision] : s.decision),
    el('h1', {}, s.margin === null ? NO_DATA : signed(s.margin), el('small', {}, ' points of margin')),
    el('p', { class: 'what' }, ...whatWasDone()),
    el('p', { class: 'lead' }, 'Challenger ', el('strong', {}, oneDecimal(s.challenger_score)), `, ${s.opponent} `,
      el('strong', {}, oneDecimal(s.king_score)), ' of 100. ', bound,
      ` Judged: ${count(s.parsed)} of ${count(s.turns)} turns from ${count(s.clusters)} pull requests, ${count(s.calls)} judge calls, ${dollars(s.cost)}.`),
    s.why.length ? el('ul', { class: 'why' }, s.why.map(reason => el('li', {}, explained(reason)))) : null,
    el('p', { class: 'next' }, explained(s.next[0]), ' ', el('span', { class: 'command' }, el('code', {}, s.next[1]), copyButton(s.next[1]))));
}

/** What was compared, and by whom, for a reader who has never seen such a report. */
function whatWasDone() {
  const s = summary;
  const named = side => (s.writers[side]?.length ? s.writers[side].map(name => el('b', {}, name)).flatMap((name, i) => (i ? [', ', name] : [name])) : ['a model']);
  const other = s.opponent === 'king' ? ['Blind, ', ...named('opponent'), ' wrote the next step of a coding agent (the ', ...explained('king'), '). ']
    : ['The opponent is the step that the dataset itself records. '];
  return [...other, 'With the hidden solution in hand, ', ...named('challenger'), ' wrote the same step (the ', ...explained('challenger'), '). ',
    `${count(s.judges.length)} judge${s.judges.length === 1 ? '' : 's'} compared the two.`];
}

function gateList() {
  const rows = summary.gates.tables[0].rows;
  return el('ul', { class: 'gates', 'aria-label': 'Gates' }, rows.map(([name, figure, ask], i) => {
    const held = summary.held[i];
    return el('li', { class: held ? 'final' : 'defeat' },
      el('span', { class: 'sign', role: 'img', 'aria-label': held ? 'held' : 'not held' }, held ? '✓' : '✕'),
      el('span', {}, explained(cellText(name))), el('span', { class: 'figure' }, cellText(figure)),
      el('span', { class: 'ask' }, `${held ? 'held' : 'not held'}, asked for ${cellText(ask)}`));
  }));
}

function shares(choose) {
  const shown = summary.buckets.filter(row => row.turns);
  return el('div', { class: 'shares' },
    el('div', { class: 'bar', 'aria-hidden': 'true' }, shown.map(row => el('span', { class: row.bucket, 'data-part': row.turns }))),
    el('div', { class: 'keys' }, summary.buckets.map(row => el('button', { type: 'button', class: row.bucket, title: row.rule, click: () => choose('bucket', row.bucket) },
      el('span', { class: `dot ${row.bucket}` }), el('b', {}, bucketName(row.bucket)),
      el('span', { class: 'muted figure' }, `${count(row.turns)} · ${percent(row.share)}`)))));
}

const bucketName = bucket => (bucket === 'none' ? 'in no bucket' : bucket);

/** Sizes go through the style object: the page's policy allows no style attributes. */
function colorShares() {
  for (const part of document.querySelectorAll('[data-part]')) part.style.setProperty('--part', part.dataset.part);
}

const cellText = cell => (Array.isArray(cell) ? cell[0] : cell);

function sectionBox(section, number) {
  return el('details', { open: number === 1 },
    el('summary', {}, section.title),
    el('div', { class: 'inside' }, section.tables.map(tableBox),
      section.notes.length ? el('div', { class: 'notes' }, section.notes.map(note => el('p', {}, explained(note)))) : null));
}

function tableBox(table) {
  const side = i => ({ class: table.right.includes(i) ? 'right' : null });
  const cell = value => (Array.isArray(value) ? el('code', {}, value[0]) : sentence(value));
  return el('table', {}, table.caption ? el('caption', {}, table.caption) : null,
    el('thead', {}, el('tr', {}, table.columns.map((name, i) => el('th', { scope: 'col', ...side(i) }, explained(name))))),
    el('tbody', {}, table.rows.map(row => el('tr', {}, row.map((value, i) => el('td', side(i), cell(value)))))));
}
