import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    // Room for slow machines; no test waits this long by plan.
    testTimeout: 20_000,
    hookTimeout: 60_000,
    projects: [
      {
        extends: true,
        test: {
          name: "library",
          include: ["test/{unit,integration,property,conformance,faults}/**/*.test.ts"],
          setupFiles: ["test/support/leak-guard.ts"],
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
          // Real builds of the examples: alone, for they take both the processor and their time.
          name: "apps",
          include: ["test/apps/*.test.ts"],
          setupFiles: ["test/support/leak-guard.ts"],
          testTimeout: 60_000,
          sequence: { groupOrder: 1 },
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
