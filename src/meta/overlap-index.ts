// Subject patterns of an account's streams, to answer "does this pattern overlap with any of them?" without looking at
// all of them. Pure; a trie of tokens, used by the meta machine, and by the API for the patterns of one configuration. Agrees with `subjectsOverlap` on every pair.

interface Node {
  children: Map<string, Node>;
  /** Patterns that end here. */
  ends: number;
}

export class OverlapIndex {
  readonly #root: Node = { children: new Map(), ends: 0 };
  /** Nodes looked at so far: what `*` beside many names may make of a few patterns. */
  steps = 0;

  add(pattern: string): void {
    let node = this.#root;
    for (const token of pattern.split('.')) {
      let child = node.children.get(token);
      if (child === undefined) node.children.set(token, (child = { children: new Map(), ends: 0 }));
      node = child;
    }
    node.ends++;
  }

  /** Adds it unless it overlaps with one that is there. False: it does. */
  addApart(pattern: string): boolean {
    if (this.overlaps(pattern)) return false;
    this.add(pattern);
    return true;
  }

  /** `pattern` was added before. */
  remove(pattern: string): void {
    const tokens = pattern.split('.');
    const path = [this.#root];
    for (const token of tokens) path.push(path[path.length - 1].children.get(token)!);
    path[tokens.length].ends--;
    for (let i = tokens.length; i > 0 && path[i].ends === 0 && path[i].children.size === 0; i--) {
      path[i - 1].children.delete(tokens[i - 1]);
    }
  }

  overlaps(pattern: string): boolean {
    return this.#overlapsBelow(this.#root, pattern.split('.'), 0);
  }

  #overlapsBelow(node: Node, tokens: readonly string[], at: number): boolean {
    this.steps++;
    if (at === tokens.length) return node.ends > 0;
    const token = tokens[at];
    if (token === '>') return node.children.size > 0;
    if (node.children.has('>')) return true;
    if (token === '*') {
      for (const child of node.children.values()) if (this.#overlapsBelow(child, tokens, at + 1)) return true;
      return false;
    }
    const same = node.children.get(token);
    if (same !== undefined && this.#overlapsBelow(same, tokens, at + 1)) return true;
    const star = node.children.get('*');
    return star !== undefined && this.#overlapsBelow(star, tokens, at + 1);
  }
}
