// A word diff after Myers (1986), bounded: texts that are too long or too different are not marked at all.

const WORD = /\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu;
const MOST_WORDS = 6000;
const MOST_STEPS = 1200;
// Below this share of common words, marks would cover nearly everything and help nobody.
const LEAST_COMMON = 0.35;

/** The stretches of left and right that the other lacks: {left, right}, lists of {start, end}; null where unmarkable. */
function wordDiff(leftText, rightText) {
  const left = words(leftText);
  const right = words(rightText);
  if (left.length + right.length > 2 * MOST_WORDS) return null;
  let head = 0;
  while (head < left.length && head < right.length && left[head].text === right[head].text) head++;
  let tail = 0;
  while (tail < Math.min(left.length, right.length) - head && left.at(-1 - tail).text === right.at(-1 - tail).text) tail++;
  const pairs = common(left.slice(head, left.length - tail), right.slice(head, right.length - tail));
  if (!pairs) return null;
  const kept = [...left.slice(0, head), ...pairs.map(pair => left[head + pair[0]]), ...left.slice(left.length - tail)];
  if (2 * spoken(kept) < LEAST_COMMON * (spoken(left) + spoken(right))) return null;
  const keptLeft = new Set(pairs.map(pair => pair[0] + head));
  const keptRight = new Set(pairs.map(pair => pair[1] + head));
  return { left: changed(left, keptLeft, head, tail), right: changed(right, keptRight, head, tail) };
}

function words(text) {
  return Array.from(text.matchAll(WORD), match => ({ text: match[0], start: match.index, end: match.index + match[0].length }));
}

/** How many are words: white space and punctuation are common to any two texts. */
const spoken = list => list.filter(word => /[\p{L}\p{N}]/u.test(word.text)).length;

/** Index pairs of a longest common subsequence, or null where it takes more than MOST_STEPS edits. */
function common(left, right) {
  const n = left.length;
  const m = right.length;
  const most = Math.min(n + m, MOST_STEPS);
  const middle = most + 1;
  let furthest = new Int32Array(2 * most + 3);
  const trace = [];
  for (let d = 0; d <= most; d++) {
    trace.push(furthest.slice(middle - d - 1, middle + d + 2));
    for (let k = -d; k <= d; k += 2) {
      const down = k === -d || (k !== d && furthest[middle + k - 1] < furthest[middle + k + 1]);
      let x = down ? furthest[middle + k + 1] : furthest[middle + k - 1] + 1;
      while (x < n && x - k < m && left[x].text === right[x - k].text) x++;
      furthest[middle + k] = x;
      if (x >= n && x - k >= m) return walkBack(trace, n, m);
    }
  }
  return null;
}

function walkBack(trace, n, m) {
  const pairs = [];
  let x = n;
  let y = m;
  for (let d = trace.length - 1; d >= 0; d--) {
    const before = k => trace[d][k + d + 1];
    const k = x - y;
    const down = k === -d || (k !== d && before(k - 1) < before(k + 1));
    const previous = d === 0 ? 0 : down ? k + 1 : k - 1;
    const fromX = d === 0 ? 0 : before(previous);
    const fromY = d === 0 ? 0 : fromX - previous;
    while (x > fromX && y > fromY) pairs.push([--x, --y]);
    x = fromX;
    y = fromY;
  }
  return pairs;
}

/** The stretches outside the kept words; a gap of white space between two changes is part of the change. */
function changed(all, kept, head, tail) {
  const ranges = [];
  for (let i = head; i < all.length - tail; i++) {
    if (kept.has(i)) continue;
    const last = ranges.at(-1);
    if (last && (last.next === i || (last.next === i - 1 && !all[i - 1].text.trim()))) {
      last.end = all[i].end;
      last.next = i + 1;
    } else ranges.push({ start: all[i].start, end: all[i].end, next: i + 1 });
  }
  return ranges;
}
