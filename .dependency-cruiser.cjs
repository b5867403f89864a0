// Imports point down only: adapters, then the service, then the manager, then factories and stores, then
// `internal`. Type imports count like any others, unless a rule says otherwise.

const FACTORY = "^src/langgraph/";
const TESTING = "^src/testing/";
const ADAPTER = "^src/(http/|express\\.ts$|next\\.ts$|otel)";
const STORE = "^src/store/";
const INTERNAL = "^src/internal/";
/** What every layer may use: contracts, errors, plain data. */
const CONTRACTS = "^src/(agent|errors|json|run-event|session)\\.ts$|^src/store/(store|run-ledger)\\.ts$";
/** @langchain/core is not among them: the checkpoint package loads it anyway. */
const PEERS =
  "(^|/)node_modules/(@langchain/(?!langgraph-checkpoint/|core/)|langchain/|zod/|pg/|ioredis/|@electric-sql/|express/|next/|@opentelemetry/)";

/** @type {import("dependency-cruiser").IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: "no-circular",
      severity: "error",
      comment: "A cycle that a lazy import breaks is none when modules are loaded.",
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only", "dynamic-import"] } },
    },
    {
      name: "resolvable",
      comment: "The optional packages are named for bundlers; most of them are not installed here.",
      severity: "error",
      from: { pathNot: "^src/langgraph/optional-packages\\.ts$" },
      to: { couldNotResolve: true },
    },
    {
      name: "declared-dependencies-only",
      comment:
        "What src loads is a dependency or a peer; a devDependency is not there for who installs the package, unless the build bundles it (with its licence, in the file that imports it).",
      severity: "error",
      from: { path: "^src/" },
      to: {
        pathNot: "^node_modules/@remix-run/node-fetch-server/",
        dependencyTypes: ["npm-dev", "npm-no-pkg", "npm-unknown"],
        dependencyTypesNot: ["npm-peer", "npm", "type-only"],
      },
    },
    {
      name: "root-loads-no-peer",
      comment: "Outside of the factory and the testing entry peers are imported as types, or lazily.",
      severity: "error",
      from: { path: "^src/", pathNot: [FACTORY, TESTING, ADAPTER, "^src/store/(postgres|redis)/"] },
      to: { path: PEERS, dependencyTypesNot: ["type-only"], dynamic: false },
    },
    {
      name: "factory-only-lazily",
      comment:
        "`ChatService.create` may import the LangGraph factory when it is called; nothing loads it before.",
      severity: "error",
      from: { path: "^src/", pathNot: FACTORY },
      to: { path: FACTORY, dependencyTypesNot: ["type-only"], dynamic: false },
    },
    {
      name: "factory-knows-contracts-only",
      comment: "A factory builds agents; it knows neither manager, service nor runs.",
      severity: "error",
      from: { path: FACTORY },
      to: { path: "^src/", pathNot: [FACTORY, INTERNAL, CONTRACTS] },
    },
    {
      name: "stores-know-contracts-only",
      severity: "error",
      from: { path: STORE },
      to: { path: "^src/", pathNot: [STORE, INTERNAL, CONTRACTS] },
    },
    {
      name: "internal-is-the-bottom",
      severity: "error",
      from: { path: INTERNAL },
      to: { path: "^src/", pathNot: [INTERNAL, CONTRACTS] },
    },
    {
      name: "contracts-know-contracts-only",
      severity: "error",
      from: { path: CONTRACTS },
      to: { path: "^src/", pathNot: CONTRACTS },
    },
    {
      name: "adapters-use-the-public-api",
      comment: "An adapter can do nothing that a host cannot do.",
      severity: "error",
      from: { path: ADAPTER },
      to: { path: "^src/", pathNot: [ADAPTER, "^src/index\\.ts$"] },
    },
    {
      name: "nobody-below-knows-adapters",
      severity: "error",
      from: { path: "^src/", pathNot: ADAPTER },
      to: { path: ADAPTER },
    },
    {
      name: "library-knows-no-tests",
      comment: "The testing entry is for hosts; the library does not use it, and it uses no test runner.",
      severity: "error",
      from: { path: "^src/", pathNot: TESTING },
      to: { path: [TESTING, "^test/"] },
    },
    {
      name: "manager-knows-no-service",
      severity: "error",
      from: { path: "^src/(agent-manager\\.ts$|agents/)" },
      to: {
        path: "^src/((index|chat-service|create-chat-service|run)\\.ts$|runs/|service/)",
      },
    },
    {
      name: "testing-uses-no-runner",
      severity: "error",
      from: { path: TESTING },
      to: { path: "(^|/)node_modules/(vitest|@vitest|jest|@jest|mocha|chai)|^node:test$" },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    doNotFollow: { path: "node_modules" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "types", "node", "default"],
      extensions: [".ts", ".js", ".d.ts", ".json"],
    },
  },
};
