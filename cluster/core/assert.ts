// The one way in which core says that an invariant is broken. Called all over cluster/core; the host turns the
// exception into the end of the process (DESIGN §10). Nothing that a network can do may lead here.

export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`raft invariant broken: ${message}`);
}
