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

/** Arguments: version, readable. Gives 1 when this library may work, else the version found. */
export const claimFormat = new RedisScript(
  prelude,
  `
local key = P .. ':format'
local found = redis.call('HMGET', key, 'version', 'readable')
local version, readable = tonumber(found[1] or 0), tonumber(found[2] or 0)
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
