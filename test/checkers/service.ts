// How long nobody was served: the longest time without an acknowledgement, per fault. Called by the chaos runs for their table, and
// through CHECKERS, which hold it to what is allowed.
import type { Event, FaultWindow, Finding, History } from './history.ts';

export interface Outage {
  fault: FaultWindow;
  longestMs: number;
  /** When that time began. */
  at: number;
}

/** The ends of a window count like acknowledgements: silence before it belongs to the fault before. */
export function outages(events: readonly Event[], faults: readonly FaultWindow[]): Outage[] {
  const acks: number[] = [];
  for (const event of events) if (event.kind === 'acked') acks.push(event.at);
  acks.sort((a, b) => a - b);
  return faults.map((fault) => {
    let low = 0;
    let high = acks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (acks[middle] < fault.from) low = middle + 1;
      else high = middle;
    }
    const outage: Outage = { fault, longestMs: 0, at: fault.from };
    let last = fault.from;
    for (let i = low; last < fault.until; i++) {
      const next = Math.min(acks[i] ?? fault.until, fault.until);
      if (next - last > outage.longestMs) Object.assign(outage, { longestMs: next - last, at: last });
      last = next;
    }
    return outage;
  });
}

export function noService(history: History): Finding[] {
  return outages(history.events, history.faults ?? [])
    .filter(({ fault, longestMs }) => longestMs > fault.silentMsMax)
    .map(({ fault, longestMs }) => ({
      check: 'no-service',
      text: `${fault.name}: nothing was acknowledged for ${Math.round(longestMs)} ms, ${fault.silentMsMax} ms are allowed`,
    }));
}
