import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    // Room for machines that have much else to do; no test waits this long by plan.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 20_000 } },
    // More than processors: many files wait for engines, leases and other processes most of the time.
    maxWorkers: 4,
    projects: [
      {
        extends: true,
        test: {
          name: "library",
          include: ["test/{unit,integration,property,conformance}/**/*.test.ts"],
          setupFiles: ["test/support/leak-guard.ts", "test/support/patience.ts"],
        },
      },
      {
        extends: true,
        test: {
          name: "package",
          include: ["test/package/*.test.ts"],
          globalSetup: ["test/package/pack.ts"],
          testTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          // Real builds of the examples: one after another, for they take both the processor and their time.
          name: "apps",
          maxWorkers: 1,
          include: ["test/apps/*.test.ts"],
          setupFiles: ["test/support/leak-guard.ts", "test/support/patience.ts"],
          testTimeout: 240_000,
          hookTimeout: 300_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          // Processes that are killed, and leases that run out: nearly all of it is waiting. But nothing else at once, for a
          // process that comes to nothing for a whole lease loses it.
          name: "faults",
          maxWorkers: 4,
          include: ["test/faults/**/*.test.ts"],
          setupFiles: ["test/support/leak-guard.ts", "test/support/patience.ts"],
          globalSetup: ["test/faults/cluster/build.ts"],
          testTimeout: 180_000,
          hookTimeout: 300_000,
          sequence: { groupOrder: 2 },
        },
      },
      {
        extends: true,
        test: {
          name: "types",
          include: [],
          typecheck: {
            enabled: true,
            only: true,
            include: ["test/types/**/*.test-d.ts"],
            tsconfig: "tsconfig.json",
          },
        },
      },
    ],
  },
});
