// Text on the screen: elements are built from text nodes only, so nothing that comes from outside is ever markup.

const INVISIBLE = /\r(?!\n)|[^\P{C}\n\t\r]|[\u2028\u2029]/gu;
const NO_DATA = 'not measured';

/** An element with attributes, listeners (functions) and children; strings become text. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  for (const child of children.flat()) {
    if (child instanceof Node) node.append(child);
    else if (child !== null && child !== undefined && child !== '') addText(node, String(child));
  }
  return node;
}

/** Add text; control, bidi and zero-width characters become badges that show their number. */
function addText(parent, text) {
  let from = 0;
  for (const match of text.matchAll(INVISIBLE)) {
    if (match.index > from) parent.append(text.slice(from, match.index));
    const badge = document.createElement('span');
    badge.className = 'odd';
    badge.textContent = 'U+' + match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, '0');
    parent.append(badge);
    from = match.index + match[0].length;
  }
  if (from < text.length) parent.append(from ? text.slice(from) : text);
}

/** A sentence of ours, with `code` in backticks. */
function sentence(text) {
  return text.split('`').map((part, i) => (i % 2 ? el('code', {}, part) : part));
}

/** Text on one line for a title attribute, invisible characters named. */
function oneLine(text) {
  return text.replace(INVISIBLE, c => `U+${c.codePointAt(0).toString(16).toUpperCase()}`).replace(/\s+/g, ' ');
}

const integer = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const count = value => (value === null || value === undefined ? NO_DATA : integer.format(value));
const oneDecimal = value => (value === null || value === undefined ? '–' : value.toFixed(1));
const signed = value => (value < 0 ? '−' : '+') + Math.abs(value).toFixed(1);
const points = value => (value === null || value === undefined ? NO_DATA : `${signed(value)} points`);
const percent = value => (value === null || value === undefined ? NO_DATA : `${(100 * value).toFixed(1)} %`);
const dollars = value => (value === null || value === undefined ? 'price unknown'
  : value === 0 || value >= 0.1 ? `$${value.toFixed(2)}` : `$${value.toPrecision(2)}`);

/** The address of a file of the workspace, seen from the page. Always relative, whatever the name is. */
const fileAddress = path => '../' + path.split('/').map(encodeURIComponent).join('/');
