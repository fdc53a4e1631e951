// The whole cluster under simulation: fixed seeds, fresh seeds that are printed, replay,
// and planted bugs that the checkers must find: if they do not, their silence about the real code means nothing.
import { afterEach, describe, expect, it } from 'vitest';
import { Raft } from '../../../cluster/core/raft.ts';
import type { Ready } from '../../../cluster/core/types.ts';
import { runScenario, type ScenarioOptions } from '../../sim/scenario.ts';
import { SimClient } from '../../sim/sim-client.ts';

/** Three and five nodes. Seeds replay a run only as long as the scenario draws the same numbers. */
const FIXED = [1, 2, 3, 4, 5, 7, 8, 11];
const FRESH = 3;
const DURATION_MS = 5000;

describe('the cluster under simulation', () => {
  it.each(FIXED)('keeps its promises with seed %i', (seed) => {
    expect(runScenario({ seed, durationMs: DURATION_MS }).findings).toEqual([]);
  });

  it('does not count the clock of a node that is gone (seed 7180)', () => {
    expect(runScenario({ seed: 7180 }).findings).toEqual([]);
  });

  const start = Date.now() % 1e9;
  it.each(Array.from({ length: FRESH }, (_, i) => start + i))('keeps its promises with the fresh seed %i', (seed) => {
    const { findings, acked } = runScenario({ seed, durationMs: DURATION_MS });
    expect(findings, `replay: npm run sim -- --seed ${seed} --duration ${DURATION_MS}`).toEqual([]);
    expect(acked).toBeGreaterThan(0);
  });

  it('is a function of its seed', () => {
    const run = () => {
      const { trace, events, acked } = runScenario({ seed: 12, durationMs: 3000 });
      return { trace, events, acked };
    };
    expect(run()).toEqual(run());
  });
});

describe('planted bugs are found', () => {
  const takeReady = Raft.prototype.takeReady;
  afterEach(() => {
    Raft.prototype.takeReady = takeReady;
  });

  /** The check that one of `seeds` seeds fails first. A broken invariant that stops the run counts as found. */
  function found(seeds: number, options: Omit<ScenarioOptions, 'seed'>): string {
    for (let seed = 1; seed <= seeds; seed++) {
      try {
        const { findings } = runScenario({ seed, durationMs: 6000, ...options });
        if (findings.length > 0) return findings.join('\n');
      } catch (error) {
        return String(error);
      }
    }
    return 'nothing';
  }

  it('a leader that commits what it alone has', () => {
    Raft.prototype.takeReady = function (this: Raft): Ready {
      const s = this.state;
      if (s.lead !== undefined && s.log.termOf(s.stable) === s.term && s.stable > s.commit) s.setCommit(s.stable);
      return takeReady.call(this);
    };
    expect(found(6, { faults: ['partition', 'process crash'] })).not.toBe('nothing');
  });

  it('acknowledgements before the sync', () => {
    // From the second second on a sync answers at once and makes nothing durable.
    const prepare: ScenarioOptions['prepare'] = (world) => {
      world.scheduler.after(2000, () => {
        for (const { disk } of world.nodes) disk.faults.losesSyncs = true;
      });
    };
    expect(found(8, { faults: ['power loss of all'], prepare })).toMatch(
      /lost|no progress|not.*answered|damaged|refused/,
    );
  });

  it('a server that ignores what a conditional publish expects', () => {
    const { request } = SimClient.prototype;
    SimClient.prototype.request = function (subject, payload, _headers, timeoutMs, done) {
      request.call(this, subject, payload, {}, timeoutMs, done);
    };
    const seen = found(2, { faults: [] });
    SimClient.prototype.request = request;
    expect(seen).toMatch(/compare-and-set/);
  });
});
