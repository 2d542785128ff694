// The page's data: packed blocks of JSON in inert elements, unpacked when they are needed.

const summary = JSON.parse(document.getElementById('summary').textContent);
const RECENT_CHUNKS = 6;
const recent = new Map();

/** The JSON of one packed block. */
async function unpack(id) {
  const packed = atob(document.getElementById(`data-${id}`).textContent);
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

/** The details of the turn in row `row`. */
async function details(row) {
  const turns = await block(`${Math.floor(row / summary.chunk_turns)}`);
  return turns[row % summary.chunk_turns];
}

/** The rows of the list; what repeats is spelled out as shared strings. */
async function readRows() {
  const table = await unpack('rows');
  for (const [name, column] of Object.entries(table)) {
    if (!Array.isArray(column)) table[name] = column.of.map(number => column.names[number]);
  }
  table.size = table.file.length;
  table.number = new Map(table.file.map((file, row) => [file, row]));
  return table;
}

let systems = null;
const systemPrompts = () => (systems ??= unpack('systems'));
