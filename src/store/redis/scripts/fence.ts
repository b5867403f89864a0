/*
 * Where everything is, and who may write it.
 *
 * All keys of a store begin with its prefix as a hash tag, so that on a cluster they share a slot and each step is
 * atomic over all of them. Every script gets the bare tag as its one key, for routing, and builds the names itself.
 * Thread ids hold no colon, so that no two pairs of a thread and a run share a name.
 *
 *   {p}:session:<thread>        hash, see below
 *   {p}:queue:<thread>          zset: runs that wait, by place
 *   {p}:ended:<thread>          list: finished runs that are retained, in the order in which they ended
 *   {p}:undo:<thread>           list: turns that rollbacks have cancelled, oldest first
 *   {p}:state:<thread>          string: the state slot
 *   {p}:run:<thread>:<run>      hash, see moves.ts
 *   {p}:events:<thread>:<run>   stream: the events of a run, see events.ts
 *   {p}:purged:<thread>         string: the session was deleted, for some minutes
 *   {p}:conversation:<thread>   hash: the texts of a conversation, see records.ts
 *   {p}:counters                hash: epoch, order, turn, created, queued
 *   {p}:leases                  zset: running sessions by when their lease expires
 *   {p}:parked, {p}:retained, {p}:idle, {p}:tombstones
 *                               zsets: sessions by when they were parked, by when their oldest retained run ended,
 *                               since when they are idle, by when they were deleted
 *   {p}:sessions, {p}:sessions:<user>
 *                               zsets: the directory, by creation
 *   {p}:waiting:…, {p}:runnable:…, {p}:user:…, {p}:aside, {p}:pinned…
 *                               whose turn it is, see rotation.ts
 *   {p}:hints                   stream: what processes tell each other of the ledger, see hints.ts
 *   {p}:conversations           zset: threads that have a conversation
 *   {p}:processes, {p}:process:<id>, {p}:messages
 *                               the registry, see processes.ts
 *   {p}:event-runs:<thread>     set: runs with events, in a log beside another ledger
 *   {p}:wake:<origin>           stream: ends the look of a process at its streams, see stream-reader.ts
 *   {p}:format                  hash: how all this is laid out, see format.ts
 *
 * Fields of a session that matter to others: `epoch` and `owner` are what writes are fenced with. `owner` is there
 * while somebody holds the lease; `epoch` is that of the lease unless the session is being deleted, which raises it.
 * `running` is the run on whose behalf the owner writes. Nothing of the ledger, of conversations or of their events
 * expires by itself: a lease that Redis forgot would let a stale owner's epoch come again. Marks of deleted sessions do.
 */

/** What every script begins with: `P`, the tag that key names begin with. */
export const prelude = `
local P = KEYS[1]
local function session_key(thread) return P .. ':session:' .. thread end
local function run_key(thread, run) return P .. ':run:' .. thread .. ':' .. run end
local function events_key(thread, run) return P .. ':events:' .. thread .. ':' .. run end
local function conversation_key(thread) return P .. ':conversation:' .. thread end
local LEASE_LOST = { err = 'LEASE_LOST The lease no longer holds.' }
`;

/**
 * `fence(thread, epoch, owner[, run])`, all texts: nil while that lease may write (on behalf of that run), else the
 * error reply for the script to return before it has changed anything.
 */
export const fence = `
local function fence(thread, epoch, owner, run)
  local held = redis.call('HMGET', session_key(thread), 'epoch', 'owner', 'running')
  if held[1] ~= epoch or held[2] ~= owner or (run and held[3] ~= run) then return LEASE_LOST end
end
`;

/** `now()`: the engine's time in milliseconds, the same for all of a script. */
export const time = `
local the_time
local function now()
  if not the_time then
    local t = redis.call('TIME')
    the_time = t[1] * 1000 + math.floor(t[2] / 1000)
  end
  return the_time
end
`;

/** `runs_of(thread)`: the ids of all runs that the ledger knows of a session, those that wait included. */
export const runsOf = `
local function runs_of(thread)
  local runs = redis.call('LRANGE', P .. ':ended:' .. thread, 0, -1)
  for _, run in ipairs(redis.call('ZRANGE', P .. ':queue:' .. thread, 0, -1)) do runs[#runs + 1] = run end
  for _, run in ipairs(redis.call('HMGET', session_key(thread), 'running', 'parked')) do
    if run then runs[#runs + 1] = run end
  end
  return runs
end
`;

/** What TypeScript names of a store's keys; the other names are the scripts' own. */
export function redisKeys(prefix: string) {
  const tag = `{${prefix}}`;
  return {
    /** What scripts get as their one key. */
    tag,
    events: (threadId: string, runId: string) => `${tag}:events:${threadId}:${runId}`,
  };
}
