export { storeConformance } from "./store-conformance.js";
export type { ConformanceCase, StoreConformanceOptions } from "./store-conformance.js";
export type { ConformanceLimits, StorePart } from "./bench.js";
