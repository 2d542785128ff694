// Votes in this browser until someone else has them: the server, or the person who was handed the file.

const MOST_AT_ONCE = 20;
const outbox = { votes: {}, kept: true, failed: '', sending: false, again: 0 };

/** Read what this browser knows, and what the server had when it made the page. */
function openOutbox() {
  readVotes();
  for (const [id, vote] of Object.entries(page.votes)) {
    const own = outbox.votes[id];
    if (!own || own.pair !== vote.pair || own.at <= vote.at) outbox.votes[id] = { ...vote, id, saved: true };
  }
  keepVotes();
  addEventListener('storage', event => event.key === storeName() && (readVotes(), showState()));
  if (page.post) send();
}

const storeName = () => `duel-review:${page.page}`;

/** Merge what other tabs have written: the newer vote on a pair stands. */
function readVotes() {
  try {
    for (const [id, vote] of Object.entries(JSON.parse(localStorage.getItem(storeName()) ?? '{}'))) {
      const own = outbox.votes[id];
      if (!own || own.at < vote.at || (own.at === vote.at && vote.saved)) outbox.votes[id] = vote;
    }
  } catch {
    outbox.kept = false;
  }
}

function keepVotes() {
  try {
    localStorage.setItem(storeName(), JSON.stringify(outbox.votes));
  } catch {
    outbox.kept = false;
  }
  showState();
}

/** The vote on an item, unless it is on other texts. */
const voteOn = item => (outbox.votes[item.id]?.pair === item.pair ? outbox.votes[item.id] : undefined);
const waiting = () => Object.values(outbox.votes).filter(vote => !vote.saved && !vote.refused);

function castVote(vote) {
  readVotes();
  outbox.votes[vote.id] = vote;
  keepVotes();
  if (page.post) send();
}

/** Bring everything that waits to the server; a vote counts as saved once the server says that it is on disk. */
async function send() {
  if (outbox.sending) return;
  outbox.sending = true;
  clearTimeout(outbox.again);
  try {
    for (let votes = waiting(); votes.length; votes = waiting()) {
      const part = votes.slice(0, MOST_AT_ONCE);
      const reply = await fetch(page.post, {
        method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(part.map(plain)),
      });
      if (!reply.ok) throw new Error(`the server answers ${reply.status}`);
      const told = await reply.json();
      const before = waiting().length;
      settle(told.saved, 'saved', true);
      settle(told.refused, 'refused', 'the texts have changed since');
      if (waiting().length === before) throw new Error('the server did not take the votes');
    }
    outbox.failed = '';
  } catch (error) {
    outbox.failed = error instanceof TypeError ? 'the server does not answer' : error.message;
    outbox.again = setTimeout(send, 3000);
  }
  outbox.sending = false;
  showState();
}

/** Note what became of votes, named by id and time: one that was changed meanwhile is another. */
function settle(names, field, value) {
  readVotes();
  for (const vote of Object.values(outbox.votes)) if (names.includes(`${vote.id} ${vote.at}`)) vote[field] = value;
  keepVotes();
}

function plain(vote) {
  const { saved, refused, ...rest } = vote;
  return rest;
}

/** All votes of this browser as a file to hand over. Handing over the same votes again is harmless. */
function download() {
  const votes = Object.values(outbox.votes);
  const lines = votes.map(vote => JSON.stringify(plain(vote)) + '\n');
  const address = URL.createObjectURL(new Blob(lines, { type: 'application/x-ndjson' }));
  el('a', { href: address, download: `votes-${page.rater}.jsonl` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
  if (!page.post) {
    for (const vote of votes) vote.saved = true;
    keepVotes();
  }
}

function showState() {
  const open = waiting().length;
  const refused = Object.values(outbox.votes).filter(vote => vote.refused).length;
  const lost = outbox.kept ? '' : ' This browser keeps nothing: download before you close the page.';
  const state = byId('state');
  if (page.post) {
    state.textContent = open && outbox.failed ? `${open} not saved yet: ${outbox.failed}; kept in this browser.`
      : open ? `Saving ${open} …` : Object.keys(outbox.votes).length ? 'All votes saved.' : '';
  } else {
    state.textContent = open ? `${open} in this browser, not downloaded yet.` : '';
  }
  if (refused) state.textContent += ` ${refused} set aside: their texts have changed.`;
  if (open) state.textContent += lost;
  state.classList.toggle('open', Boolean(open && (outbox.failed || !outbox.kept)));
  byId('download').hidden = Boolean(page.post) && !(open && outbox.failed);
  byId('download').classList.toggle('primary', !page.post && open > 0);
}
