import { RedisScript } from "../client.js";
import { batches } from "./events.js";
import { fence, prelude } from "./fence.js";

/*
 * A conversation is one hash: its version under `v`, and each text under a colon and its key. `{p}:conversations` is a
 * sorted set of the threads that have one, all of one score, so that they are in the order of their ids.
 */

/** Arguments: thread, known version or nothing. Gives 1 for unchanged, else fields and texts by turns. */
export const loadRecords = new RedisScript(
  prelude,
  `
local key = conversation_key(ARGV[1])
if ARGV[2] and redis.call('HGET', key, 'v') == ARGV[2] then return 1 end
return redis.call('HGETALL', key)
`,
);

/**
 * Arguments: thread, token, base or nothing, epoch and owner of the lease or nothing, the number of puts, that of keys
 * to delete, the run whose events go along or nothing; keys and texts of the puts by turns, keys to delete, the batch
 * (see events.ts) if there is a run. Gives 1 if the thread's version is the token now, else 0.
 */
export const commitRecords = new RedisScript(
  prelude,
  fence,
  batches,
  `
local thread, token, base, epoch, owner = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local key = conversation_key(thread)
local version = redis.call('HGET', key, 'v')
if version == token then return 1 end
local run = ARGV[8] ~= '' and ARGV[8] or nil
if owner ~= '' then
  local lost = fence(thread, epoch, owner, run)
  if lost then return lost end
end
if (version or '') ~= base then return 0 end
local last = 8 + 2 * tonumber(ARGV[6])
local behind = last + tonumber(ARGV[7])
if run then
  local batch = batch_of(thread, run, epoch, behind + 1, #ARGV)
  if not fits(batch) then return LEASE_LOST end
  add_batch(batch)
end
if not version then redis.call('ZADD', P .. ':conversations', 0, thread) end
redis.call('HSET', key, 'v', token)
for i = 9, last, 2 do redis.call('HSET', key, ':' .. ARGV[i], ARGV[i + 1]) end
for i = last + 1, behind do redis.call('HDEL', key, ':' .. ARGV[i]) end
return 1
`,
);

/** Argument: thread. */
export const deleteRecords = new RedisScript(
  prelude,
  `
redis.call('UNLINK', conversation_key(ARGV[1]))
return redis.call('ZREM', P .. ':conversations', ARGV[1])
`,
);
