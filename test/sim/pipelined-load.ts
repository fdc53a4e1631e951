// Publishers that do not wait for answers: bursts of messages without ids, so that some are on their way, and some wait, whenever leadership moves.
// While nodes are only stopped as operators do it, every publish through a node that stays is acknowledged.
import type { Finding, History } from '../checkers/history.ts';
import type { SimNode } from './sim-node.ts';
import { REQUEST_MS, type Run, StreamLoad } from './stream-load.ts';

const BURST_MAX = 40;
const STEP_MS_MAX = 3;
const REST_MS_MAX = 200;

export class PipelinedLoad extends StreamLoad {
  #acked = 0;
  /** Publishes that failed although only other nodes were stopped. */
  readonly #failed: Finding[] = [];

  constructor(run: Run, name: string) {
    super(run, name, 3);
  }

  override start(): void {
    for (const [number, node] of this.world.nodes.slice(0, 3).entries()) this.#publish(number, node);
  }

  override isDone(): boolean {
    return this.#acked > 0;
  }

  protected override more(_history: History): Finding[] {
    return this.#failed;
  }

  #publish(number: number, host: SimNode): void {
    const { scheduler } = this.world;
    const client = this.client(`p${number}`, host);
    const chance = this.chance(`pipelined ${number}`);
    const subject = `${this.name.toLowerCase()}.${number}`;
    let count = 0;
    const send = (left: number): void => {
      if (!this.run.publishing) return;
      const id = `p${number}.${count++}`;
      const { life } = host;
      const sentMs = scheduler.nowMs;
      // It takes clients once it knows the metadata.
      const stays = (): boolean => host.node?.meta.ready === true && !host.stopping && host.life === life;
      const stayed = stays();
      this.record({ kind: 'sent', at: scheduler.nowMs, client: number, id, msgId: '', subject, content: id });
      client.request(subject, id, {}, REQUEST_MS, (outcome) => {
        if (this.settle(id, outcome)) this.#acked++;
        else if (this.run.isGentle && stayed && stays()) {
          const waitedMs = Math.round(scheduler.nowMs - sentMs);
          const text = `${id} failed after ${waitedMs} ms while nodes were stopped one after the other: ${JSON.stringify(outcome)}`;
          this.#failed.push({ check: 'no-service', text });
        }
      });
      if (left > 1) scheduler.after(chance.float() * STEP_MS_MAX, () => send(left - 1));
      else scheduler.after(chance.float() * REST_MS_MAX, () => send(Math.ceil(chance.float() * BURST_MAX)));
    };
    send(1);
  }
}
