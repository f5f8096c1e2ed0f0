// Which tokens of an answer a model was unsure of.

export interface TokenRange {
  /** Offsets in the text. */
  start: number;
  end: number;
  /** 1: rather sure, 2: unsure, 3: guessed. */
  level: 1 | 2 | 3;
}

export function level(value: number): 0 | 1 | 2 | 3 {
  return value >= 0.8 ? 0 : value >= 0.5 ? 1 : value >= 0.2 ? 2 : 3;
}

/** The unsure tokens between two offsets. `ends` say where each token ends in the text. */
export function unsureTokens(
  ends: readonly number[],
  values: readonly number[],
  from: number,
  to: number,
): TokenRange[] {
  const found: TokenRange[] = [];
  let low = 0;
  let high = ends.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle]! <= from) low = middle + 1;
    else high = middle;
  }
  for (let i = low; i < ends.length; i++) {
    const start = i > 0 ? ends[i - 1]! : 0;
    if (start >= to) break;
    const how = level(values[i]!);
    if (how > 0) found.push({ start, end: ends[i]!, level: how as 1 | 2 | 3 });
  }
  return found;
}
