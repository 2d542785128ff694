// Words of the report, explained where they stand and in the help.

const GLOSSARY = {
  'king': 'The reply of a model that was shown only what the agent saw.',
  'challenger': 'The reply of a model that also had the pull request in hand, under the rule to act as if it had not.',
  'margin': 'Score of the challenger minus score of its opponent, in points; 0 is a tie.',
  'lower bound': 'With the stated confidence the true margin is at least this; above 0, luck alone does not explain the win.',
  'studentized': 'A bootstrap in which each resample is divided by its own standard error, which keeps the bound honest for few clusters.',
  'clusters': 'Turns of one repository or pull request are alike; they count as one independent unit.',
  'parsed': 'Enough judges gave a verdict that could be read.',
  'worst case': 'The margin if every turn that could not be read had been lost.',
  'flip': 'A judge that prefers one reply in one order and the other in the other; it counts as a draw.',
  'flips': 'Judges that prefer one reply in one order and the other in the other; each counts as a draw.',
  'leak': 'The challenger tells what stands only in the hidden pull request; such a turn is kept nowhere.',
  'leaking': 'The challenger tells what stands only in the hidden pull request; such a turn is kept nowhere.',
  'final': 'Turns that won clearly: training data.',
  'refined': 'Turns that won, but not clearly.',
  'defeat': 'Ties and losses.',
  'in no bucket': 'Turns that cannot be kept, each with its reason.',
  'tie': 'A score of 50: as many votes for one reply as for the other.',
  'noise floor': 'The same judges on a king against another king: the margin that chance alone makes.',
  "Krippendorff's alpha": 'Agreement of the judges beyond chance: 1 full, 0 as by chance.',
  'effective votes': 'How many independent judges the panel is worth: judges that err together count less.',
  'look': 'Each challenger that is judged in a workspace is a look; many looks find a lucky one.',
};
const TERMS = new RegExp(`(?<![\\w-])(${Object.keys(GLOSSARY).sort((a, b) => b.length - a.length).join('|')})(?![\\w-])`, 'gi');

/** A sentence of ours: `code` in backticks, and each word of the glossary explained the first time it stands there. */
function explained(text) {
  const known = new Set();
  return text.split('`').flatMap((part, i) => (i % 2 ? [el('code', {}, part)] : part.split(TERMS).map((piece, j) => {
    const meaning = GLOSSARY[piece] ?? GLOSSARY[piece.toLowerCase()];
    if (j % 2 === 0 || known.has(meaning)) return piece;
    known.add(meaning);
    return el('abbr', { title: meaning, tabindex: 0 }, piece);
  })));
}

const glossaryList = () => Object.entries(GLOSSARY).filter(([word]) => word !== 'flips' && word !== 'leaking')
  .map(([word, meaning]) => el('div', {}, el('dt', {}, word), el('dd', {}, meaning)));
