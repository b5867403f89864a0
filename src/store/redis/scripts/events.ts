import { RedisScript } from "../client.js";
import { fence, prelude, runsOf } from "./fence.js";

/*
 * The events of a run are a stream. The id of an event is `<seq>-<epoch>`: the number that it has in its run, and the
 * lease under which it was written. So a page is found by number, what the last writer's epoch was can be seen, and
 * Redis itself would refuse a number that is not greater.
 */

/** The greatest second half of an id: whatever epoch wrote it. */
const ANY_EPOCH = "18446744073709551615";

/** The id behind all entries of an event, for reading on from it. */
export function idAfter(seq: number): string {
  return `${String(seq)}-${ANY_EPOCH}`;
}

/** `last_event(thread, run)`: number and epoch of the last event, 0 and 0 if there is none; its id and its text. */
export const lastEvent = `
local function last_event(thread, run)
  local last = redis.call('XREVRANGE', events_key(thread, run), '+', '-', 'COUNT', 1)[1]
  if not last then return 0, 0 end
  local seq, epoch = string.match(last[1], '^(%d+)-(%d+)$')
  return tonumber(seq), tonumber(epoch), last[1], last[2][2]
end
`;

/**
 * `batch_of(thread, run, epoch, from, to)`: a batch in the arguments from the first of these places to the last: first
 * number, most events, ms to live or 0, then the events, of which there may be none. `had` if the log ends as the batch
 * does: then it has had it.
 *
 * `add_batch(batch)` puts it behind the last event, if `fits(batch)`, which a script has to ask before it changes
 * anything.
 */
export const batches = `
${lastEvent}
local function batch_of(thread, run, epoch, from, to)
  local b = { key = events_key(thread, run), at = from + 2, count = to - from - 2, epoch = epoch }
  b.first, b.most, b.ttl = tonumber(ARGV[from]), ARGV[from + 1], ARGV[from + 2]
  local id, text
  b.last, b.last_epoch, id, text = last_event(thread, run)
  b.is_new = not id
  b.had = b.count > 0 and id == string.format('%.0f-%s', b.first + b.count - 1, epoch) and text == ARGV[to]
  return b
end

local function fits(b) return b.had or b.count == 0 or b.first == b.last + 1 end

local function add_batch(b)
  if b.had or b.count == 0 then return end
  for i = 1, b.count do
    redis.call('XADD', b.key, string.format('%.0f-%s', b.first + i - 1, b.epoch), 'e', ARGV[b.at + i])
  end
  if b.last + b.count > tonumber(b.most) then redis.call('XTRIM', b.key, 'MAXLEN', b.most) end
  if b.ttl ~= '0' then redis.call('PEXPIRE', b.key, b.ttl) end
end
`;

/** Arguments: thread, run, epoch, owner, then the batch. */
const appending = `
local thread, run, epoch, owner = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local batch = batch_of(thread, run, epoch, 5, #ARGV)
if batch.had then return 0 end
`;
const adding = `
if not fits(batch) then return LEASE_LOST end
add_batch(batch)
return batch.count
`;

/** Beside the ledger of the same store: its lease decides. */
export const appendFenced = new RedisScript(
  prelude,
  fence,
  batches,
  appending,
  `
local lost = fence(thread, epoch, owner, run)
if lost then return lost end
`,
  adding,
);

/**
 * Beside another ledger: the epoch of the last event is all there is to know, and a log that has gone may go on at any
 * number. The set of a thread's runs is for deleting; runs whose events have expired leave it when one is added.
 */
export const appendByEpoch = new RedisScript(
  prelude,
  batches,
  appending,
  `
if batch.last_epoch > tonumber(epoch) then return LEASE_LOST end
local runs = P .. ':event-runs:' .. thread
if batch.is_new then
  batch.last = batch.first - 1
  for _, known in ipairs(redis.call('SMEMBERS', runs)) do
    if redis.call('EXISTS', events_key(thread, known)) == 0 then redis.call('SREM', runs, known) end
  end
  if batch.count > 0 then redis.call('SADD', runs, run) end
end
if batch.ttl ~= '0' then redis.call('PEXPIRE', runs, batch.ttl) end
`,
  adding,
);

/** Arguments: thread, run, number after which to begin, limit. Gives the last number, then the events. */
export const readPage = new RedisScript(
  prelude,
  lastEvent,
  `
local last = last_event(ARGV[1], ARGV[2])
local page = { last }
if last > tonumber(ARGV[3]) then
  local from = '(' .. ARGV[3] .. '-${ANY_EPOCH}'
  for _, entry in ipairs(redis.call('XRANGE', events_key(ARGV[1], ARGV[2]), from, '+', 'COUNT', ARGV[4])) do
    page[#page + 1] = entry[2][2]
  end
end
return page
`,
);

/** Arguments: threads and runs by turns. Gives the last number of each. */
export const lastNumbers = new RedisScript(
  prelude,
  lastEvent,
  `
local numbers = {}
for i = 1, #ARGV, 2 do numbers[#numbers + 1] = (last_event(ARGV[i], ARGV[i + 1])) end
return numbers
`,
);

/** Argument: thread. */
export const deleteFenced = new RedisScript(
  prelude,
  runsOf,
  `
for _, run in ipairs(runs_of(ARGV[1])) do redis.call('UNLINK', events_key(ARGV[1], run)) end
return 1
`,
);

/** Argument: thread. Gives the runs that have events, or had some. */
export const runsByEpoch = new RedisScript(
  prelude,
  `return redis.call('SMEMBERS', P .. ':event-runs:' .. ARGV[1])`,
);

/** Arguments: thread, runs. */
export const deleteByEpoch = new RedisScript(
  prelude,
  `
for i = 2, #ARGV do
  redis.call('UNLINK', events_key(ARGV[1], ARGV[i]))
  redis.call('SREM', P .. ':event-runs:' .. ARGV[1], ARGV[i])
end
return 1
`,
);
