// What a turn is about: the issue, and behind a switch the pull request that only the challenger knew.

const ISSUE_LINES = 10;

function issueSection(row, turn) {
  const whole = startOf(turn.issue).trim();
  const lines = whole.split('\n');
  const box = el('div', { class: 'prose' });
  const show = text => {
    box.replaceChildren();
    addText(box, text);
  };
  const long = lines.length > ISSUE_LINES || whole.length > 1600;
  show(long ? lines.slice(0, ISSUE_LINES).join('\n').slice(0, 1600) : whole);
  const more = el('button', { type: 'button', class: 'unfold', click: () => {
    show(whole);
    more.remove();
  } }, `Show all ${count(lines.length)} lines`);
  const pull = turn.pull ? pullBox(turn.pull, list.rows.path[row]) : null;
  const open = pull && el('button', { type: 'button', 'aria-pressed': 'false', click: () => {
    pull.hidden = !pull.hidden;
    open.setAttribute('aria-pressed', !pull.hidden);
  } }, 'What the challenger knew');
  return el('section', { class: 'issue' }, el('div', { class: 'bar-line' }, el('h2', {}, 'Issue'), el('span', { class: 'end' }, open)),
    el('div', { class: 'card' }, box, long ? more : null, typeof turn.issue === 'string' ? null : gap(turn.issue, list.rows.path[row])), pull);
}

function pullBox(pull, path) {
  const part = (title, text) => (sizeOf(text) ? [el('h3', {}, title), diffText(startOf(text)), typeof text === 'string' ? null : gap(text, path)] : null);
  return el('div', { class: 'card pull', hidden: true },
    el('p', { class: 'muted' }, `Pull request${pull.number ? ` #${pull.number}` : ''}: shown to the challenger, hidden from the king.`),
    pull.files.length ? el('ul', { class: 'mono' }, pull.files.map(file => el('li', {}, file))) : null,
    part('Description', pull.description), part('Changes', pull.patch));
}

function diffText(text) {
  const style = line => (/^\+(?!\+\+)/.test(line) ? 'added' : /^-(?!--)/.test(line) ? 'removed' : /^@@|^diff /.test(line) ? 'muted' : null);
  return el('pre', {}, text.split('\n').map(line => el('span', { class: style(line) }, `${line}\n`)));
}

/** What a reply's command printed and changed where it was executed; nothing where it was not. */
function observedBox(seen, path) {
  if (!seen) return null;
  if (seen.why_not) return el('p', { class: 'ran muted' }, `Not executed: ${seen.why_not}`);
  return el('details', { class: 'ran', open: sizeOf(seen.printed) < 1500 },
    el('summary', {}, 'Executed: ', el('b', {}, seen.exit === null ? 'no exit code' : `exit ${seen.exit}`)),
    el('pre', {}, startOf(seen.printed) || '(nothing was printed)', typeof seen.printed === 'string' ? null : [gap(seen.printed, path), seen.printed[2]]),
    sizeOf(seen.changed) ? [el('p', { class: 'muted' }, 'It changed:'), diffText(startOf(seen.changed))] : null,
    sizeOf(seen.changed) && typeof seen.changed !== 'string' ? el('pre', {}, gap(seen.changed, path), seen.changed[2]) : null);
}
