import { defineConfig } from "tsup";

/** ES modules and their types; scripts/to-commonjs.mjs makes the CommonJS half from them. */
export default defineConfig({
  entry: {
    index: "src/index.ts",
    langgraph: "src/langgraph/index.ts",
    http: "src/http/index.ts",
    express: "src/express.ts",
    next: "src/next.ts",
    postgres: "src/store/postgres/index.ts",
    redis: "src/store/redis/index.ts",
    testing: "src/testing/index.ts",
  },
  format: ["esm"],
  target: "node20",
  dts: true,
  clean: true,
  // What entries share is a chunk of its own: one class, one registry, whichever entry was loaded first.
  splitting: true,
  removeNodeProtocol: false,
});
