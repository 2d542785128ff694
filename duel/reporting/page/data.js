// The page's data: packed blocks of JSON, unpacked when they are needed. They stand in inert elements of the page, or,
// where there are many turns, in script files beside it, which only say `duelBlocks({id: "packed", …})`.

const summary = JSON.parse(document.getElementById('summary').textContent);
const RECENT_CHUNKS = 6;
const recent = new Map();

const RECENT_FILES = 4;
const files = new Map();
const beside = summary.beside;
/** Which part of the turns is on the page, best first: `?part=2`. */
const part = beside ? Math.min(Math.max(Number.parseInt(new URLSearchParams(location.search).get('part') ?? '0', 10) || 0, 0), beside.parts - 1) : 0;
let arrived = null;
globalThis.duelBlocks = blocks => { arrived = blocks; };

/** The blocks of one file beside the page, with the last few kept. */
function file(name) {
  const found = files.get(name) ?? new Promise((resolve, reject) => {
    const script = el('script', { src: `${beside.folder}/${name}.js` });
    script.addEventListener('load', () => { script.remove(); resolve(arrived); });
    script.addEventListener('error', () => reject(new Error(`${script.src} is missing: it belongs beside this page`)));
    document.head.append(script);
  });
  files.delete(name);
  files.set(name, found);
  if (files.size > RECENT_FILES) files.delete(files.keys().next().value);
  return found;
}

/** A block in letters and digits, from the page or from a file beside it. */
async function packedBlock(id) {
  const element = document.getElementById(`data-${id}`);
  if (element) return element.textContent;
  const name = /^\d+$/.test(id) ? Math.floor(id / beside.file_chunks) : id;
  return (await file(name))[id];
}

/** The JSON of one packed block. */
async function unpack(id) {
  const packed = atob(await packedBlock(String(id)));
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Response(plain).json();
}

/** One block, with the last few kept: neighbours in the list are neighbours in a block. */
function block(id) {
  const found = recent.get(id) ?? unpack(id);
  recent.delete(id);
  recent.set(id, found);
  if (recent.size > RECENT_CHUNKS) recent.delete(recent.keys().next().value);
  return found;
}

const firstChunk = () => beside ? part * beside.part_turns / summary.chunk_turns : 0;

/** The details of the turn in row `row`. */
async function details(row) {
  const turns = await block(`${firstChunk() + Math.floor(row / summary.chunk_turns)}`);
  return turns[row % summary.chunk_turns];
}

/** The rows of the list; what repeats is spelled out as shared strings. */
async function readRows() {
  const table = await unpack(beside ? `rows-${part}` : 'rows');
  for (const [name, column] of Object.entries(table)) {
    if (!Array.isArray(column)) table[name] = column.of.map(number => column.names[number]);
  }
  table.size = table.file.length;
  table.number = new Map(table.file.map((file, row) => [file, row]));
  return table;
}

let systems = null;
const systemPrompts = () => (systems ??= unpack('systems'));
