// The page's data: packed blocks of JSON, unpacked when they are needed. They stand in inert elements of the page, or,
// where there are many turns, in script files beside it, which only say `duelBlocks({id: "packed", …})`.

const summary = JSON.parse(document.getElementById('summary').textContent);
const { data } = summary;
const RECENT_CHUNKS = 6;
const RECENT_FILES = 4;
const recent = new Map();
const files = new Map();
let arrived = null;
globalThis.duelBlocks = blocks => { arrived = blocks; };

/** What `make` gives for a name, with the last few kept. */
function remembered(known, most, name, make) {
  const found = known.get(name) ?? make();
  known.delete(name);
  known.set(name, found);
  if (known.size > most) known.delete(known.keys().next().value);
  return found;
}

/** The blocks of one file beside the page. */
const read = name => new Promise((resolve, reject) => {
  const script = el('script', { src: `${data.folder}/${name}.js` });
  script.addEventListener('load', () => { script.remove(); resolve(arrived); });
  script.addEventListener('error', () => reject(new Error(`${script.src} is missing: it belongs beside this page`)));
  document.head.append(script);
});

/** The JSON of one packed block, from the page or from a file beside it, of which the last few are kept. */
async function unpack(id, file = id) {
  const packed = atob(data.folder ? (await remembered(files, RECENT_FILES, file, () => read(file)))[id] : byId(`data-${id}`).textContent);
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Response(plain).json();
}

/** One block, with the last few kept: neighbors in the list are neighbors in a block. */
const block = (id, file) => remembered(recent, RECENT_CHUNKS, id, () => unpack(id, file));

const portionOf = row => Math.floor(list.rows.place[row] / data.portion_turns);

/** The details of the turn in row `row`. */
async function details(row) {
  const place = list.rows.place[row];
  const turns = await block(`${Math.floor(place / data.chunk_turns)}`, `${portionOf(row)}`);
  return turns[place % data.chunk_turns];
}

/** The system prompts that the details of row `row` name by their number. */
const systemPrompts = row => block(`systems-${portionOf(row)}`, `${portionOf(row)}`);

/** One part of the list's rows, best first; what repeats is spelled out as shared strings. */
async function readRows(part) {
  const table = await unpack(`rows-${part}`);
  for (const [name, column] of Object.entries(table)) {
    if (!Array.isArray(column)) table[name] = column.of.map(number => column.names[number]);
  }
  return table;
}
