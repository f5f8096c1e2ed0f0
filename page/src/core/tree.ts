// The messages of a conversation are a tree: an edit or a new answer is a sibling, and nothing that
// was said before is lost. `chosen` says which child of a message is shown; without an entry it is
// the newest.

export interface Node {
  id: string;
  parent: string | null;
  created: number;
}

export type Chosen = Record<string, string>;

const ROOT = "";

export class Tree<T extends Node> {
  private readonly nodes = new Map<string, T>();
  private readonly below = new Map<string, T[]>();

  constructor(nodes: Iterable<T> = []) {
    for (const node of [...nodes].sort(byAge)) this.add(node);
  }

  add(node: T): void {
    if (this.nodes.has(node.id)) throw new Error(`the message ${node.id} is there already`);
    this.nodes.set(node.id, node);
    const key = node.parent ?? ROOT;
    const siblings = this.below.get(key);
    if (siblings) siblings.push(node);
    else this.below.set(key, [node]);
  }

  get(id: string): T | undefined {
    return this.nodes.get(id);
  }

  children(id: string | null): readonly T[] {
    return this.below.get(id ?? ROOT) ?? [];
  }

  /** Those with the same parent, itself among them, the oldest first. */
  siblings(id: string): readonly T[] {
    const node = this.nodes.get(id);
    return node ? this.children(node.parent) : [];
  }

  /** What is shown: from the first message down to the last, at each fork the chosen one. */
  path(chosen: Chosen): T[] {
    const found: T[] = [];
    let next = this.pick(null, chosen);
    while (next) {
      found.push(next);
      next = this.pick(next.id, chosen);
    }
    return found;
  }

  /** The messages above one, the first message first, with itself at the end. */
  line(id: string | null): T[] {
    const found: T[] = [];
    let node = id === null ? undefined : this.nodes.get(id);
    while (node) {
      found.push(node);
      node = node.parent === null ? undefined : this.nodes.get(node.parent);
    }
    return found.reverse();
  }

  /** `chosen` changed so that `id` is on the path. */
  choose(chosen: Chosen, id: string): Chosen {
    const changed = { ...chosen };
    for (const node of this.line(id)) changed[node.parent ?? ROOT] = node.id;
    return changed;
  }

  private pick(id: string | null, chosen: Chosen): T | undefined {
    const children = this.children(id);
    const wanted = chosen[id ?? ROOT];
    return children.find((child) => child.id === wanted) ?? children.at(-1);
  }
}

function byAge(a: Node, b: Node): number {
  return a.created - b.created;
}

/** Whether every parent is among the nodes, and nobody is their own ancestor. */
export function isTree(nodes: readonly Node[]): boolean {
  const parents = new Map(nodes.map((node) => [node.id, node.parent]));
  if (parents.size !== nodes.length) return false;
  const good = new Set<string>();
  for (const start of parents.keys()) {
    const seen = new Set<string>();
    let id: string | null = start;
    while (id !== null && !good.has(id)) {
      const parent: string | null | undefined = parents.get(id);
      if (parent === undefined || seen.has(id)) return false;
      seen.add(id);
      id = parent;
    }
    for (const one of seen) good.add(one);
  }
  return true;
}
