// Taking things out of the page: the filtered turns as a file, a text to the clipboard.

/** The turns of the list as JSON lines: what the list knows of each, and both replies as far as they are on the page. */
async function saveTurns() {
  const { rows, order } = list;
  const lines = [];
  for (const row of order) {
    const turn = await details(row);
    const whole = side => (typeof turn.replies[side] === 'string' ? turn.replies[side] : null);
    const metrics = Object.fromEntries(summary.dimensions.map(name => [name, metric(name, row)]));
    lines.push(JSON.stringify({
      file: rows.file[row], path: rows.path[row], instance_id: rows.instance_id[row], repo: rows.repo[row], title: rows.title[row],
      score: rows.score[row], bucket: rows.bucket[row], why: rows.why[row], leaking: rows.leaking[row], flips: rows.flips[row], metrics,
      king: whole('king'), challenger: whole('challenger'), assistant: whole('assistant'),
    }));
  }
  const link = el('a', { href: URL.createObjectURL(new Blob([lines.map(line => `${line}\n`).join('')])), download: 'turns.jsonl' });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A button that copies `text`; a text that was cut is copied as far as it is on the page. */
function copyButton(text, label = 'Copy') {
  const whole = typeof text === 'string' ? text : `${text[0]}\n[${text[1]} characters are left out]\n${text[2]}`;
  const button = el('button', { type: 'button', class: 'copy', click: async event => {
    event.preventDefault();
    button.textContent = await toClipboard(whole) ? 'Copied' : 'Not allowed here';
    setTimeout(() => { button.textContent = label; }, 1500);
  } }, label);
  return button;
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { /* a page from disk may not be allowed to: the old way */ }
  const box = el('textarea', { class: 'unseen' });
  box.value = text;
  document.body.append(box);
  box.select();
  const done = document.execCommand('copy');
  box.remove();
  return done;
}
