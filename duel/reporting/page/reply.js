// One reply on the screen: prose and bash blocks, with colors, differences and findings laid over the same text.

// The blocks that the harness runs (duel/turn.py); any other fence is prose.
const FENCE = /```(?:bash|mswea_bash_command)[ \t\r]*\n([\s\S]*?)(?:\n?```|$)/g;
const FOLD_CHARACTERS = 5000;

/** The parts of a reply in order: {kind: 'prose' | 'code', start, end}; fence lines are in neither. */
function replyParts(text) {
  const parts = [];
  let from = 0;
  for (const match of text.matchAll(FENCE)) {
    const start = match.index + match[0].indexOf('\n') + 1;
    if (match.index > from) parts.push({ kind: 'prose', start: from, end: match.index });
    parts.push({ kind: 'code', start, end: start + match[1].length });
    from = match.index + match[0].length;
  }
  if (from < text.length) parts.push({ kind: 'prose', start: from, end: text.length });
  return parts.filter(part => part.kind === 'code' || text.slice(part.start, part.end).trim());
}

/** Add text[from, to) to `parent`, each stretch with the styles of all ranges that cover it. */
function paint(parent, text, from, to, ranges) {
  const inside = ranges.filter(range => range.end > from && range.start < to);
  const edges = new Set([from, to]);
  for (const range of inside) edges.add(Math.max(range.start, from)).add(Math.min(range.end, to));
  const cuts = [...edges].sort((a, b) => a - b);
  inside.sort((a, b) => a.start - b.start);
  let first = 0;
  for (let i = 0; i + 1 < cuts.length; i++) {
    while (first < inside.length && inside[first].end <= cuts[i]) first++;
    const over = [];
    for (let r = first; r < inside.length && inside[r].start <= cuts[i]; r++) if (inside[r].end > cuts[i]) over.push(inside[r]);
    const piece = text.slice(cuts[i], cuts[i + 1]);
    if (!over.length) addText(parent, piece);
    else {
      const finding = over.find(range => range.title);
      const style = over.map(range => range.style).filter(Boolean).join(' ');
      parent.append(el(finding ? 'mark' : 'span', { class: style, title: finding?.title }, piece));
    }
  }
}

/** A text that may be cut: the string, or [start, number of characters left out, end]. */
const startOf = text => (typeof text === 'string' ? text : text[0]);
const sizeOf = text => (typeof text === 'string' ? text.length : text[0].length + text[1] + text[2].length);

function gap(text, path) {
  return el('span', { class: 'gap' }, `${count(text[1])} characters are not on this page. `,
    el('a', { href: fileAddress(path) }, 'Open the whole answer'));
}

/** The body of a reply. `extra` are ranges over its text: differences and findings. */
function replyBody(text, path, extra) {
  const start = startOf(text);
  const body = el('div', { class: 'body' });
  for (const part of replyParts(start)) {
    const box = part.kind === 'code' ? el('code') : el('div', { class: 'prose' });
    const [from, to] = part.kind === 'code' ? [part.start, part.end] : trimmed(start, part);
    const colors = part.kind === 'code' ? bashRanges(start, from, to) : [];
    paint(box, start, from, to, [...colors, ...extra]);
    body.append(part.kind === 'code' ? el('pre', {}, box) : box);
  }
  if (!sizeOf(text)) body.append(el('p', { class: 'muted' }, 'Empty.'));
  if (typeof text !== 'string') body.append(gap(text, path), el('div', { class: 'prose' }, text[2]));
  return body;
}

function trimmed(text, part) {
  const piece = text.slice(part.start, part.end);
  return [part.start + piece.length - piece.trimStart().length, part.end - (piece.length - piece.trimEnd().length)];
}

/** The differences of two replies, part by part: thought against thought, command against command. */
function replyDiff(left, right) {
  const found = { left: [], right: [], unmarked: 0 };
  for (const kind of ['prose', 'code']) {
    const ours = replyParts(left).filter(part => part.kind === kind);
    const theirs = replyParts(right).filter(part => part.kind === kind);
    for (let i = 0; i < Math.min(ours.length, theirs.length); i++) {
      const [a, aEnd] = trimmed(left, ours[i]);
      const [b, bEnd] = trimmed(right, theirs[i]);
      const diff = wordDiff(left.slice(a, aEnd), right.slice(b, bEnd));
      if (!diff) {
        found.unmarked++;
        continue;
      }
      for (const r of diff.left) found.left.push({ start: r.start + a, end: r.end + a, style: 'changed' });
      for (const r of diff.right) found.right.push({ start: r.start + b, end: r.end + b, style: 'changed' });
    }
  }
  return found;
}

/** A reply with its heading; a long one is folded until it is asked for. */
function replyCard(side, title, text, model, path, extra = [], aside = false, seen = null) {
  const body = replyBody(text, path, extra);
  const card = el('article', { class: `reply ${side}${aside ? ' aside' : ''}` },
    el('header', {}, el('h3', {}, title), model && el('span', { class: 'mono' }, model), el('span', {}, `${count(sizeOf(text))} characters`), sizeOf(text) ? copyButton(text) : null),
    body, observedBox(seen, path));
  if (startOf(text).length > FOLD_CHARACTERS) {
    body.classList.add('folded');
    const unfold = () => {
      body.classList.remove('folded');
      button.remove();
    };
    const button = el('button', { type: 'button', class: 'unfold', click: unfold }, `Show all ${count(startOf(text).length)} characters`);
    body.after(button);
  }
  return card;
}
