import { defineConfig } from 'vitest/config';

// Conformance, simulator and chaos have their own scripts; `npm test` runs what is listed here.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/conformance/**', 'node_modules/**'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Bounds that only a hang meets: a slow or busy machine does not.
    expect: { poll: { timeout: 30_000 } },
    reporters: ['default'],
  },
});
