// Bash, colored: one pass over the command, linear in its length.

const BASH = /(?<space>\s+)|(?<comment>#[^\n]*)|(?<heredoc><<-?[ \t]*(?:'(\w+)'|"(\w+)"|(\w+)))|(?<string>'[^']*'?|"(?:\\[\s\S]|[^"\\])*"?)|(?<variable>\$\{[^}]*\}?|\$\w+|\$[?#@*!$-])|(?<operator>&&|\|\||\$\(|[|;&<>()]+)|(?<option>--?[A-Za-z][\w-]*)|(?<word>(?:\\[\s\S]|[^\s'"$|;&<>()])+)|(?<rest>[\s\S])/y;
const KEYWORDS = new Set('if then elif else fi for while until do done in case esac function select time'.split(' '));

/** The colored stretches of text[from, to): {start, end, style}. */
function bashRanges(text, from, to) {
  const ranges = [];
  const source = text.slice(from, to);
  let ends = [];
  let atCommand = true;
  let afterSpace = true;
  BASH.lastIndex = 0;
  for (let match; BASH.lastIndex < source.length && (match = BASH.exec(source));) {
    const at = match.index;
    const add = style => ranges.push({ start: from + at, end: from + BASH.lastIndex, style });
    const kind = match.groups;
    if (kind.comment && !afterSpace) {
      BASH.lastIndex = at + 1;
    } else if (kind.comment) add('b-comment');
    else if (kind.heredoc) {
      add('b-operator');
      ends.push(match[4] ?? match[5] ?? match[6]);
    } else if (kind.string) {
      add('b-string');
      atCommand = false;
    } else if (kind.variable) {
      add('b-variable');
      atCommand = false;
    } else if (kind.operator) {
      add('b-operator');
      atCommand = !/^[<>]/.test(kind.operator);
    } else if (kind.option) {
      add('b-option');
    } else if (kind.word) {
      if (KEYWORDS.has(kind.word)) add('b-keyword');
      else if (atCommand && /^\w+=/.test(kind.word)) add('b-variable');
      else if (atCommand) {
        add('b-command');
        atCommand = false;
      }
    } else if (kind.space?.includes('\n')) {
      atCommand = true;
      if (ends.length) {
        const body = at + kind.space.indexOf('\n') + 1;
        BASH.lastIndex = bodyEnd(source, body, ends);
        ranges.push({ start: from + body, end: from + BASH.lastIndex, style: 'b-heredoc' });
        ends = [];
      }
    }
    afterSpace = Boolean(kind.space) || Boolean(kind.operator);
  }
  return ranges;
}

/** Where the here-documents that start at `at` end: after the line of the last delimiter, or with the text. */
function bodyEnd(source, at, delimiters) {
  for (const delimiter of delimiters) {
    let line = at;
    for (;;) {
      const next = source.indexOf('\n', line);
      const end = next < 0 ? source.length : next;
      if (source.slice(line, end).trim() === delimiter || next < 0) {
        at = end;
        break;
      }
      line = next + 1;
    }
  }
  return at;
}
