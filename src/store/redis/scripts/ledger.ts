import { RedisScript } from "../client.js";
import { batches } from "./events.js";
import { fence, prelude, time } from "./fence.js";
import { hint } from "./hints.js";
import { moves, sessions } from "./moves.js";
import { retention } from "./retention.js";
import { rotation } from "./rotation.js";

/** Finished runs that a submit or a finish forgets on the side: more than come in between, so that there is no backlog. */
export const FORGET_PER_STEP = 8;

/** A script that only looks. */
export function look(main: string): RedisScript {
  return new RedisScript(prelude, sessions, main);
}

/** A script that takes a step of the ledger. Its reply says what the step came to, and which runs it changed. */
export function step(main: string): RedisScript {
  return new RedisScript(prelude, time, hint, fence, batches, sessions, rotation, retention, moves, main);
}

/** ARGV: the hint. */
export const announce = new RedisScript(prelude, hint, "hint(ARGV[1])");
