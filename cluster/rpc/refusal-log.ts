// Which refused connections are worth a log line: a few different ones of an address in a minute, as the text may be whatever its end
// says. Asked by links.ts, which counts them all. Pure. Invariant: what is remembered is bounded, whoever connects however often.

const WINDOW_MS = 60_000;
const LINES_MAX = 5;
const ADDRESSES_MAX = 1_000;

export class RefusalLog {
  /** What was said of an address, until when that counts. */
  readonly #said = new Map<string, { untilMs: number; lines: Set<string> }>();

  isNews(address: string, line: string, nowMs: number): boolean {
    let said = this.#said.get(address);
    if (said === undefined || nowMs >= said.untilMs) {
      if (said === undefined && this.#said.size >= ADDRESSES_MAX) this.#said.clear();
      said = { untilMs: nowMs + WINDOW_MS, lines: new Set() };
      this.#said.set(address, said);
    }
    if (said.lines.has(line) || said.lines.size >= LINES_MAX) return false;
    said.lines.add(line);
    return true;
  }
}
