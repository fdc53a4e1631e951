// How the runtime of a node is set up (ADR 0006); used by the launcher, by `start` and by whatever spawns nodes for tests. Plain
// JavaScript with types beside it, because the launcher must run on Nodes that cannot strip types.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CODE_CACHE = join(fileURLToPath(new URL('../../node_modules', import.meta.url)), '.cache', 'flotilla');

/**
 * The heap of a node is small and nearly constant (state lives in off-heap tables); what comes and goes are buffers outside of it. By
 * default V8 answers their pressure with a full collection for every 16 MB received, marking the same 20 MB each time, and hands parts of
 * the work to threads that compete with other processes for the same cores.
 */
export const V8_FLAGS = [
  '--heap-growing-percent=150',
  '--max-semi-space-size=8',
  // How many bytes of young buffers bring on a scavenge, which frees them: about three times this. By default it is more than what
  // brings on a full collection, so that scavenges never come to it.
  '--scavenger-max-new-space-capacity-mb=4',
  '--single-threaded-gc',
  // What is made at a place whose objects once lived through a scavenge would be old from its birth, for good. Entries of the log are such objects, and what
  // is old keeps its buffer until the next full collection.
  '--no-allocation-site-pretenuring',
];

/** The environment of a node; what is set already stays. */
export function runtimeEnv(env) {
  return {
    ...env,
    // Two threads stay free for the log whatever reads are under way.
    UV_THREADPOOL_SIZE: env.UV_THREADPOOL_SIZE ?? '8',
    // glibc: a heap for each of those threads would keep what the others freed.
    MALLOC_ARENA_MAX: env.MALLOC_ARENA_MAX ?? '2',
    // Frames and batches are mapped one by one and given back when they are freed. By default the first large one that is freed moves this
    // bound up to 32 MB: from then on they are pieces of one heap that grows with every peak and has no free end to give back.
    MALLOC_MMAP_THRESHOLD_: env.MALLOC_MMAP_THRESHOLD_ ?? '131072',
    MALLOC_TRIM_THRESHOLD_: env.MALLOC_TRIM_THRESHOLD_ ?? '8388608',
    // Types are stripped once, not at each start: what strips them stays in memory for good (22 MB of each node). Entries
    // carry the source's checksum; a directory that cannot be written means no cache.
    NODE_COMPILE_CACHE: env.NODE_COMPILE_CACHE ?? CODE_CACHE,
  };
}
