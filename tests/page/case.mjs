// The cases by their names, which are sentences.

export const cases = new Map();

/** `options` are those of a browser context: the size of the window, colours. */
export function page(name, run, options = {}) {
  if (cases.has(name)) throw new Error(`there are two cases "${name}"`);
  cases.set(name, { run, options });
}
