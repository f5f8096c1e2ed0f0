// Citations of an answer: which stretch of its text rests on which passage. In the text that is
// rendered they are marks of private characters, U+E000 number U+E001, which no text brings along.

export interface Citation {
  text_start: number;
  text_end: number;
  source: string;
  place: string;
  passage_id: string;
  score: number | null;
}

export const MARK = /\uE000\d+\uE001/g;

export interface Source {
  number: number;
  passage_id: string;
  source: string;
  place: string;
  score: number | null;
}

/** One source a passage, numbered as they first come in the text. */
export function sources(citations: readonly Citation[]): Source[] {
  const found = new Map<string, Source>();
  for (const one of inOrder(citations)) {
    if (found.has(one.passage_id)) continue;
    const { passage_id, source, place, score } = one;
    found.set(passage_id, { number: found.size + 1, passage_id, source, place, score });
  }
  return [...found.values()];
}

/** `text` without private characters of its own. */
export function plain(text: string): string {
  return /[\uE000\uE001]/.test(text) ? text.replace(/[\uE000\uE001]/g, "\uFFFD") : text;
}

/** `text` with a mark behind each stretch that rests on a passage. */
export function marked(text: string, citations: readonly Citation[]): string {
  const clean = plain(text);
  if (citations.length === 0) return clean;
  const numbers = new Map(sources(citations).map((one) => [one.passage_id, one.number]));
  const marks = new Map<number, Set<number>>();
  const places = unitOffsets(clean, citations.map((one) => one.text_end));
  citations.forEach((one, i) => {
    let at = places[i]!;
    while (at > 0 && /\s/.test(clean[at - 1]!)) at--; // behind the last word, not on the next line
    const here = marks.get(at) ?? new Set();
    marks.set(at, here.add(numbers.get(one.passage_id)!));
  });
  let result = "";
  let done = 0;
  for (const [at, here] of [...marks].sort((a, b) => a[0] - b[0])) {
    result += clean.slice(done, at);
    for (const number of [...here].sort((a, b) => a - b)) result += `\uE000${number}\uE001`;
    done = at;
  }
  return result + clean.slice(done);
}

/** Offsets in UTF-16 units of offsets in characters, as Python counts them. */
export function unitOffsets(text: string, offsets: readonly number[]): number[] {
  const order = offsets.map((offset, i) => ({ offset, i })).sort((a, b) => a.offset - b.offset);
  const result = new Array<number>(offsets.length).fill(text.length);
  let characters = 0;
  let units = 0;
  for (const { offset, i } of order) {
    while (characters < offset && units < text.length) {
      units += text.codePointAt(units)! > 0xffff ? 2 : 1;
      characters++;
    }
    result[i] = units;
  }
  return result;
}

function inOrder(citations: readonly Citation[]): Citation[] {
  return [...citations].sort((a, b) => a.text_end - b.text_end || a.text_start - b.text_start);
}
