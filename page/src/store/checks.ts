// Values of files, which may hold anything: each is what it should be, or an error says where it
// is not.

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function record(value: unknown, where: string): Record<string, unknown> {
  if (!isRecord(value)) throw new Error(`${where}: expected an object.`);
  return value;
}

export function array(value: unknown, where: string): unknown[] {
  if (!Array.isArray(value)) throw new Error(`${where}: expected a list.`);
  return value;
}

export function string(value: unknown, where: string): string {
  if (typeof value !== "string") throw new Error(`${where}: expected text.`);
  return value;
}

export function number(value: unknown, where: string): number {
  if (typeof value !== "number") throw new Error(`${where}: expected a number.`);
  return value;
}

type Check = (value: unknown, where: string) => unknown;
type Shape = Check | readonly [Shape] | { readonly [name: string]: Shape };

/** Checks a value and all its parts. */
export function shaped(value: unknown, shape: Shape, where: string): void {
  if (typeof shape === "function") {
    shape(value, where);
  } else if (isList(shape)) {
    array(value, where).forEach((one, i) => shaped(one, shape[0], `${where}[${i}]`));
  } else {
    const given = record(value, where);
    for (const [name, part] of Object.entries(shape)) shaped(given[name], part, `${where}.${name}`);
  }
}

/** What may be missing. */
export function maybe(shape: Shape): Check {
  return (value, where) => value == null || shaped(value, shape, where);
}

function isList(shape: Shape): shape is readonly [Shape] {
  return Array.isArray(shape);
}
