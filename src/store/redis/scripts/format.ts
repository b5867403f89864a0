import { RedisScript } from "../client.js";
import { prelude } from "./fence.js";

/*
 * `{p}:format` says how the data under a prefix are laid out: `version` is that of the newest library that has used
 * them, `readable` the oldest format whose library can still work beside it. A library raises them when it starts, so
 * that in a rolling upgrade old and new processes share the data whenever a change allows it. Who finds none when a
 * session begins writes it again: Redis was emptied while its processes lived.
 */

/** How this library lays data out. Raise it with every change of keys, fields or meanings. */
export const FORMAT = 1;
/** The oldest library format that can go on working with what this one writes. */
export const READABLE_BY = 1;

/** Lua, for steps that begin something: notes the format where there is none. */
export const keepFormat = `
if redis.call('HSETNX', P .. ':format', 'version', ${String(FORMAT)}) == 1 then
  redis.call('HSET', P .. ':format', 'readable', ${String(READABLE_BY)})
end
`;

/**
 * Arguments: version, readable. Gives 1 when this library may work, else the version found; none when what is there is
 * not whole: a number of ours over it would hide that the data may be of any format.
 */
export const claimFormat = new RedisScript(
  prelude,
  `
local key = P .. ':format'
if redis.call('EXISTS', key) == 0 then
  redis.call('HSET', key, 'version', ARGV[1], 'readable', ARGV[2])
  return { 1, ARGV[1] }
end
local found = redis.pcall('HMGET', key, 'version', 'readable')
local function number(text) return tonumber(string.match(text or '', '^%d+$')) end
local version, readable = number(found[1]), number(found[2])
if not version or not readable then return { 0, false } end
if readable > tonumber(ARGV[1]) then return { 0, version } end
if version < tonumber(ARGV[1]) then redis.call('HSET', key, 'version', ARGV[1], 'readable', ARGV[2]) end
return { 1, version }
`,
);

/** Gives what the server says of itself: its version, nothing before 7.0; and what it does when memory runs out. */
export const inspectServer = new RedisScript(
  prelude,
  `
local memory = redis.pcall('INFO', 'memory')
local policy = type(memory) == 'string' and string.match(memory, 'maxmemory_policy:([%w-]+)') or ''
return { redis.REDIS_VERSION or '', policy }
`,
);
