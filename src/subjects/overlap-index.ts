// Many subject patterns, to answer "does this pattern overlap with any of them?" without looking at all of them. Pure; a trie of tokens: of an
// account's streams in the meta machine, of one configuration in the API, of a consumer's filters in a work queue's machine. Agrees with
// `subjectsOverlap` on every pair.

interface Node {
  children: Map<string, Node>;
  /** Patterns that end here. */
  ends: number;
}

/** Where somebody else waits, no more steps are taken: a fraction of a second. */
export const OVERLAP_STEPS_MAX = 1_000_000;

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

  /** Does one of them overlap, or would it take more steps to know than up to `stepsEnd`, counted from the beginning of the index? When none overlaps
   * the number of steps does not depend on the order in which patterns were added, so that replicas agree. */
  meetsAny(patterns: readonly string[], stepsEnd: number): boolean {
    return patterns.some((pattern) => this.steps > stepsEnd || this.overlaps(pattern));
  }

  /** Without recursion: what is in the log is as deep as it is. */
  overlaps(pattern: string): boolean {
    const tokens = pattern.split('.');
    const nodes = [this.#root];
    const depths = [0];
    for (let node = nodes.pop(); node !== undefined; node = nodes.pop()) {
      const at = depths.pop()!;
      this.steps++;
      const { children } = node;
      const token = tokens[at];
      if (at === tokens.length) {
        if (node.ends > 0) return true;
      } else if (token === '>') {
        if (children.size > 0) return true;
      } else if (children.has('>')) {
        return true;
      } else {
        for (const child of token === '*' ? children.values() : [children.get('*'), children.get(token)]) {
          if (child === undefined) continue;
          nodes.push(child);
          depths.push(at + 1);
        }
      }
    }
    return false;
  }
}
