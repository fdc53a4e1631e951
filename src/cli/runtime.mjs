// How the runtime of a node is set up; used by the launcher, by `start` and by whatever spawns nodes for tests. Plain JavaScript with types
// beside it, because the launcher must run on Nodes that cannot strip types.

/**
 * The heap of a node is small and nearly constant (state lives in off-heap tables); what comes and goes are buffers outside of it. By
 * default V8 answers their pressure with a full collection for every 16 MB received, marking the same 20 MB each time, and hands parts of
 * the work to threads that compete with other processes for the same cores. Measured by `npm run bench`: half of a follower's CPU time.
 */
export const V8_FLAGS = ['--heap-growing-percent=400', '--max-semi-space-size=8', '--single-threaded-gc'];

/** Two threads stay free for the log whatever reads are under way. */
export const THREADPOOL_SIZE = '8';
