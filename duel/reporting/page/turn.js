// One turn opened: both replies side by side, the findings, the votes in both orders, the folded history.

const ORDER_NAMES = opponent => [`${opponent} shown first`, 'challenger shown first'];
const view = { row: -1, marks: true, drawn: null };

/** Fill the turn's page. A reader who has gone on meanwhile is not disturbed. */
async function drawTurn(row) {
  view.row = row;
  const [turn, prompts] = await Promise.all([details(row), systemPrompts(row)]);
  if (view.row !== row) return;
  view.drawn = turn;
  const { rows } = list;
  document.title = `${rows.file[row]} · ${baseTitle}`;
  byId('turn').replaceChildren(turnHead(row), ...warnings(row, turn), issueSection(row, turn), pairSection(row, turn), ...rewriteSection(row, turn), ...othersSection(row, turn), votesSection(turn), historySection(row, turn, prompts));
}

function turnHead(row) {
  const { rows } = list;
  const bucket = rows.bucket[row] ?? 'none';
  const fact = (label, value) => el('span', {}, `${label} `, el('b', {}, value));
  const place = list.order.indexOf(row);
  const neighbor = (step, label, name) => el('button', { type: 'button', 'aria-label': name, disabled: list.order[place + step] === undefined, click: () => step && go(list.order[place + step]) }, label);
  const kept = rows.kept[row] || rows.path[row];
  return el('div', { class: 'turn-head' },
    el('div', { class: 'bar-line' }, el('span', { class: 'muted figure' }, place < 0 ? '' : `${count(place + 1)} of ${count(list.order.length)}`),
      el('span', { class: 'end' }, jumps(place), neighbor(-1, '↑ Previous', 'Previous turn (k)'), neighbor(1, '↓ Next', 'Next turn (j)'))),
    el('h1', {}, rows.title[row] || rows.file[row]),
    el('div', { class: 'line' },
      fact('score', rows.score[row] === null ? 'not judged' : `${oneDecimal(rows.score[row])} of 100`),
      el('span', { class: `in ${bucket}` }, el('span', { class: `dot ${bucket}` }), el('b', {}, rows.bucket[row] ?? rows.reason[row])),
      fact('style', rows.style[row]), fact('turn', rows.position[row] || 'not recorded'),
      fact('license', rows.license[row] || 'not recorded')),
    el('div', { class: 'line' }, el('span', {}, rows.repo[row] || 'repository not recorded'), el('span', { class: 'mono', id: 'file' }, rows.file[row]), el('span', { class: 'mono' }, rows.instance_id[row]), el('a', { href: fileAddress(kept) }, kept)));
}

const KINDS = {
  flip: row => list.rows.flips[row] > 0,
  leak: row => list.rows.leaking[row] === true,
  tie: row => list.rows.score[row] === 50,
};

/** The next turn of the list, after `place` and then from its start, that is of this kind. */
function nextOf(kind, place) {
  const { order } = list;
  for (let step = 1; step <= order.length; step++) {
    const row = order[(Math.max(place, -1) + step) % order.length];
    if (row !== view.row && KINDS[kind](row)) return row;
  }
  return undefined;
}

const jumps = place => Object.keys(KINDS).map(kind => {
  const row = nextOf(kind, place);
  return row === undefined ? null : el('button', { type: 'button', 'data-jump': kind, 'aria-label': `Next ${kind} (${kind[0]})`, click: () => go(row) }, `Next ${kind}`);
});

function warnings(row, turn) {
  const found = [];
  if (!list.rows.bucket[row]) found.push(el('div', { class: 'warning' }, el('strong', {}, 'In no bucket. '), list.rows.why[row]));
  if (turn.leaks.length) {
    found.push(el('div', { class: 'warning' }, el('strong', {}, 'The challenger tells what only the hidden pull request shows.'),
      el('ul', {}, turn.leaks.map(leak => el('li', {}, `${leak.kind} `, el('code', {}, leak.value),
        leak.source ? ` in ${leak.source}${leak.line ? `, line ${leak.line}` : ''}` : '', leak.weight === null ? '' : ` (weight ${leak.weight})`)))));
  }
  if (turn.attempts.length) found.push(el('div', { class: 'warning' }, 'A reply tries to influence the judges: ', turn.attempts.join(', ')));
  if (turn.protocol.length) found.push(el('div', { class: 'warning' }, 'The challenger breaks the protocol: ', turn.protocol.join(', ')));
  return found;
}

function pairSection(row, turn) {
  const path = list.rows.path[row];
  const left = summary.mode === 1 ? 'assistant' : 'king';
  const other = summary.mode === 1 ? 'king' : 'assistant';
  const names = { king: 'King', challenger: 'Challenger', assistant: "The dataset's own turn" };
  const body = el('div');
  const draw = () => {
    const diff = view.marks ? replyDiff(startOf(turn.replies[left]), startOf(turn.replies.challenger)) : { left: [], right: [], unmarked: 0 };
    const marks = turn.leaks.filter(leak => leak.mark).map(leak => ({ start: leak.mark[0], end: leak.mark[1], style: 'leak', title: oneLine(`leak: ${leak.kind} ${leak.value}`) }));
    const card = (side, extra, aside) => replyCard(side, names[side], turn.replies[side], turn.models[side], path, extra, aside, turn.observed[side]);
    body.replaceChildren(el('div', { class: 'pair' }, card(left, diff.left), card('challenger', [...diff.right, ...marks])),
      sizeOf(turn.replies[other]) ? card(other, [], true) : '');
    toggle.setAttribute('aria-pressed', view.marks);
    note.textContent = diff.unmarked ? 'Parts with little in common are not marked.' : '';
  };
  const note = el('span', { class: 'muted' });
  const toggle = el('button', { type: 'button', id: 'marks', click: () => {
    view.marks = !view.marks;
    draw();
  } }, 'Mark differences');
  draw();
  return el('section', {}, el('div', { class: 'bar-line' }, el('h2', {}, 'Replies'), note, el('span', { class: 'end' }, toggle)), body);
}

/** What stands in final/ in the challenger's place, where `duel refine` wrote it once more. */
const rewriteSection = (row, turn) => (!turn.rewrite ? []
  : [el('section', { class: 'turn-section' }, el('div', { class: 'bar-line' }, el('h2', {}, 'Rewrite in final/')), el('p', {}, list.rows.why[row]), replyCard('challenger', 'Rewrite', turn.rewrite, turn.models.challenger, list.rows.path[row]))]);

/** What else was written for this turn, and why it was not chosen. */
const othersSection = (row, turn) => (!turn.others.length ? []
  : [el('section', { class: 'turn-section' }, el('div', { class: 'bar-line' }, el('h2', {}, 'Other candidates')), el('div', { class: 'pair' }, turn.others.map(([side, id, why, text]) => replyCard(side, id, text, why, list.rows.path[row]))))]);

function votesSection(turn) {
  const opponent = summary.opponent;
  const judges = Map.groupBy ? Map.groupBy(turn.votes, vote => vote[0]) : grouped(turn.votes);
  const letter = opponent[0].toUpperCase();
  const cell = value => (value === null ? el('span', { class: 'vote', title: 'not readable', 'aria-label': 'not readable' }, '×')
    : value > 0.5 ? el('span', { class: 'vote for', title: 'challenger better', 'aria-label': 'challenger better' }, 'C')
      : value < 0.5 ? el('span', { class: 'vote against', title: `${opponent} better`, 'aria-label': `${opponent} better` }, letter)
        : el('span', { class: 'vote', title: 'draw', 'aria-label': 'draw' }, '='));
  const lines = [];
  for (const [judge, votes] of judges) {
    lines.push(el('tr', { class: 'judge' }, el('td', { colspan: 2 + summary.dimensions.length }, el('b', { class: 'mono' }, judge),
      flips(votes) ? el('span', { class: 'flip' }, 'flips with the order: counts as a draw') : null)));
    for (const [, challengerFirst, values, reason] of votes) {
      lines.push(el('tr', {}, el('td', {}, ORDER_NAMES(opponent)[Number(challengerFirst)]), values.map(value => el('td', {}, cell(value))),
        el('td', { class: 'because' }, reason || '–')));
    }
  }
  const heads = ['order', ...summary.dimensions, 'reason'].map(name => el('th', { scope: 'col' }, name));
  return el('section', { class: 'turn-section' }, el('div', { class: 'bar-line' }, el('h2', {}, 'Votes'),
    el('span', { class: 'muted' }, `C challenger better · ${letter} ${opponent} better · = draw · × not readable`)),
  el('div', { class: 'card' }, lines.length ? el('table', { class: 'votes' }, el('thead', {}, el('tr', {}, heads)), el('tbody', {}, lines))
    : el('p', { class: 'muted' }, 'No judge was asked.')));
}

/** True where the judge prefers one side in one order and the other in the other. */
function flips(votes) {
  const leans = votes.filter(vote => !vote[2].includes(null)).map(vote => Math.sign(vote[2].reduce((a, b) => a + b - 0.5, 0)));
  return leans.includes(1) && leans.includes(-1);
}

function grouped(votes) {
  const found = new Map();
  for (const vote of votes) found.set(vote[0], [...(found.get(vote[0]) ?? []), vote]);
  return found;
}

function historySection(row, turn, prompts) {
  const path = list.rows.path[row];
  const boxes = turn.history.map(([role, text], i) => messageBox(i + 1, role, typeof text === 'number' ? prompts[text] : text, path));
  boxes.at(-1).open = true;
  const button = el('button', { type: 'button', id: 'unfold', click: () => foldHistory() }, 'Unfold all');
  return el('section', { class: 'turn-section history' }, el('div', { class: 'bar-line' }, el('h2', {}, 'History'),
    el('span', { class: 'muted' }, `what both were shown, ${count(boxes.length)} messages${turn.source ? ` · ${turn.source}` : ''}`), el('span', { class: 'end' }, button)), el('div', {}, boxes));
}

function messageBox(number, role, text, path) {
  const start = startOf(text);
  const box = el('details', {}, el('summary', {}, el('span', { class: 'muted figure' }, number), el('b', {}, role),
    el('span', { class: 'preview mono' }, start.slice(0, 240).replace(/\s+/g, ' ')), el('span', { class: 'size figure' }, `${count(sizeOf(text))} characters`)));
  box.addEventListener('toggle', () => {
    if (box.open && !box.querySelector('pre')) box.append(copyButton(text), el('pre', {}, start, typeof text === 'string' ? null : [gap(text, path), text[2]]));
  });
  return box;
}

/** Unfold the whole history, or fold it where all of it is unfolded. */
function foldHistory() {
  const boxes = [...document.querySelectorAll('.history details')];
  const open = boxes.some(box => !box.open);
  for (const box of boxes) box.open = open;
  byId('unfold').textContent = open ? 'Fold all' : 'Unfold all';
}
