export { ManualClock } from "./manual-clock.js";
export type { Clock, TimerHandle } from "../internal/clock.js";
