/** Does a store of a million sessions take longer than one of a thousand? */
import { alternate, median, medianRatioInterval } from "./support/measure.mjs";
import { lease, openStore, startEngines } from "./support/stores.mjs";
import { ms, ratio, table, whole } from "./support/format.mjs";

export const title = "Does a store of a million sessions take longer?";
export const minutes = 5;

const PAGE = 100;
/** Sessions that one measured cleanup drops. */
const DROPPED = 50;
const IDLE_MS = 3_600_000;

const timed = async (work) => {
  const from = performance.now();
  await work();
  return performance.now() - from;
};

/** The row that one session leaves, again and again: of the users u0, u1, …, each with ten sessions. */
const FILL = {
  Postgres: {
    async rows(pool, name, count) {
      const { rows } = await pool.query(
        `SELECT string_agg(quote_ident(column_name), ',') AS rest FROM information_schema.columns
         WHERE table_schema = $1 AND table_name = 'sessions' AND is_generated = 'NEVER'
           AND column_name NOT IN ('thread_id', 'session_id', 'user_id', 'created_order')`,
        [name],
      );
      const { rest } = rows[0];
      await pool.query(
        `INSERT INTO ${name}.sessions (thread_id, session_id, user_id, created_order, ${rest})
         SELECT 'u.u' || i / 10 || '.s' || i, 's' || i, 'u' || i / 10, nextval('${name}.ticks'), ${rest}
         FROM ${name}.sessions t, generate_series(1, $1::int) i WHERE t.thread_id = 's.template'`,
        [count],
      );
      await pool.query(`UPDATE ${name}.counters SET listed = listed + $1 WHERE shard = 0`, [count]);
      await pool.query(`VACUUM ANALYZE ${name}.sessions`);
    },
    /** Makes sessions, from this number on, idle for two hours. */
    age: (pool, name, from, count) =>
      pool.query(
        `UPDATE ${name}.sessions SET last_used_at = last_used_at - 7200000
         WHERE thread_id IN (SELECT 'u.u' || i / 10 || '.s' || i FROM generate_series($1::int, $2::int) i)`,
        [from, from + count - 1],
      ),
  },
  Redis: {
    async rows(client, name, count) {
      const fill = `
        local P, from, to = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
        local row = redis.call('HGETALL', P .. ':session:s.template')
        local idle = redis.call('ZSCORE', P .. ':idle', 's.template')
        for i = from, to do
          local user = 'u' .. math.floor(i / 10)
          local thread = 'u.' .. user .. '.s' .. i
          local created = redis.call('HINCRBY', P .. ':counters', 'created', 1)
          redis.call('HSET', P .. ':session:' .. thread, unpack(row))
          redis.call('HSET', P .. ':session:' .. thread, 'sessionId', 's' .. i, 'userId', user, 'created', created)
          redis.call('ZADD', P .. ':sessions', created, thread)
          redis.call('ZADD', P .. ':sessions:' .. user, created, thread)
          redis.call('ZADD', P .. ':idle', idle, thread)
        end`;
      for (let from = 1; from <= count; from += 1_000) {
        await client.call("eval", fill, 1, `{${name}}`, from, Math.min(count, from + 999));
      }
    },
    async age(client, name, from, count) {
      const members = Array.from({ length: count }, (_, index) => from + index).flatMap((i) => [
        Date.now() - 2 * IDLE_MS,
        `u.u${Math.floor(i / 10)}.s${i}`,
      ]);
      await client.call("zadd", `{${name}}:idle`, ...members);
    },
  },
};

/** A store with so many sessions, and what is asked of it. */
async function filled(engine, count) {
  const name = `rows_${count}`;
  const place = engine.name === "Redis" ? { prefix: name } : { schema: name };
  const { store, client, close } = await openStore(engine.url, { ...place, sessionTtlMs: IDLE_MS });
  const fill = FILL[engine.name];
  await (await lease(store, "template")).end();
  await fill.rows(client, name, count);
  let used = 0;
  let dropped = 1;
  return {
    close,
    chat: () =>
      timed(async () => {
        used += 1;
        await (await lease(store, `new-${used}`)).end();
      }),
    page: () => timed(() => store.sessions.list({ limit: PAGE })),
    pageOfUser: () => timed(() => store.sessions.list({ userId: "u42", limit: PAGE })),
    count: () => timed(() => store.sessions.count()),
    cleanup: async () => {
      await fill.age(client, name, dropped, DROPPED);
      dropped += DROPPED;
      return timed(() => store.sweep());
    },
  };
}

export async function run({ quick = false, progress = () => {} } = {}) {
  const counts = [1_000, quick ? 50_000 : 1_000_000];
  const rounds = quick ? 10 : 15;
  const rows = [];
  for (const engine of await startEngines()) {
    progress(`filling ${engine.name}`);
    const [few, many] = [await filled(engine, counts[0]), await filled(engine, counts[1])];
    for (const ask of ["chat", "page", "pageOfUser", "count", "cleanup"]) {
      progress(`${engine.name}, ${ask}`);
      // What drops sessions has only so many in the small store.
      const batch = ask === "cleanup" ? 1 : 5;
      const several = (one) => async () => {
        const took = [];
        for (let index = 0; index < batch; index += 1) took.push(await one());
        return median(took);
      };
      const contestants = [several(few[ask]), several(many[ask])];
      await alternate(3, contestants);
      const [small, large] = await alternate(rounds, contestants);
      rows.push({
        name: engine.name,
        ask,
        counts,
        fewMs: median(small),
        manyMs: median(large),
        ratio: medianRatioInterval(large.map((ms, index) => [ms, small[index]])),
      });
    }
    await few.close();
    await many.close();
  }
  return rows;
}

const NAMES = {
  chat: "chat",
  page: "first page of all",
  pageOfUser: "sessions of a user",
  count: "count",
  cleanup: "cleanup",
};

export function report(rows) {
  return `Run ledger and directory with so many rows of sessions. Chat: submit, claim and finish of the first run of a session;
pages of 100; the cleanup drops 50 sessions.

${table(
  ["store", "", `ms with ${whole(rows[0].counts[0])}`, `ms with ${whole(rows[0].counts[1])}`, "ratio"],
  rows.map(({ name, ask, fewMs, manyMs, ratio: factor }) => [
    name,
    NAMES[ask],
    ms(fewMs),
    ms(manyMs),
    ratio(factor),
  ]),
)}`;
}
