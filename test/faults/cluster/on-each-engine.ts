/* Runs the same faults on Postgres and on Redis, each with a server of the file's own. */
import { afterAll, afterEach, beforeAll, expect } from "vitest";
import {
  describeWithPostgres,
  describeWithRedis,
  startPostgres,
  startRedis,
  type PostgresServer,
  type RedisServer,
} from "../../support/engines/index.js";
import { Cluster, type ClusterOptions } from "./cluster.js";
import { openEngine, type OpenedEngine } from "./engine-store.js";
import type { HistoryOptions } from "./history.js";

/** What a test of faults is given: one engine, and clusters on it that end with the test. */
export interface EngineUnderTest {
  readonly name: "postgres" | "redis";
  /** While tests run. */
  readonly server: PostgresServer | RedisServer;
  readonly postgres: PostgresServer;
  readonly redis: RedisServer;
  /**
   * A cluster in a schema or under a prefix of its own. When the test ends, the three invariants must hold over what it
   * recorded; `history` says what is legitimate.
   */
  cluster(
    count: number,
    options?: Partial<ClusterOptions> & {
      readonly history?: HistoryOptions | undefined;
      /** Ends with the tests of this engine, not with the test: for one that `beforeAll` makes. */
      readonly keep?: boolean | undefined;
    },
  ): Promise<Cluster>;
  /** A store of the test's own on the cluster's data, closed after the test. */
  open(cluster: Cluster): OpenedEngine;
}

export function onEachEngine(
  title: string,
  fn: (engine: EngineUnderTest) => void,
  redisPersistence: "none" | "always" = "always",
): void {
  onPostgres(title, fn);
  onRedis(title, fn, redisPersistence);
}

export function onPostgres(title: string, fn: (engine: EngineUnderTest) => void): void {
  describeWithPostgres(`${title}, on Postgres`, () => {
    underTest("postgres", () => startPostgres(), fn);
  });
}

export function onRedis(
  title: string,
  fn: (engine: EngineUnderTest) => void,
  persistence: "none" | "always" = "always",
): void {
  describeWithRedis(`${title}, on Redis`, () => {
    underTest("redis", () => startRedis({ persistence }), fn);
  });
}

/** Postgres for state, Redis for events. */
export function onBoth(title: string, fn: (engine: EngineUnderTest) => void): void {
  describeWithPostgres(`${title}, on Postgres with events in Redis`, () => {
    describeWithRedis("together", () => {
      let redis: RedisServer | undefined;
      beforeAll(async () => {
        redis = await startRedis({ persistence: "always" });
      });
      afterAll(() => redis?.stop());
      underTest(
        "postgres",
        () => startPostgres(),
        fn,
        () => redis?.url,
      );
    });
  });
}

function underTest(
  name: EngineUnderTest["name"],
  start: () => Promise<PostgresServer | RedisServer>,
  fn: (engine: EngineUnderTest) => void,
  eventsUrl: () => string | undefined = () => undefined,
): void {
  let server: PostgresServer | RedisServer | undefined;
  let spaces = 0;
  interface Started {
    readonly cluster: Cluster;
    readonly history: HistoryOptions | undefined;
    readonly keep: boolean;
  }
  const clusters: Started[] = [];
  const opened: OpenedEngine[] = [];
  const running = (): PostgresServer | RedisServer => {
    if (server === undefined) throw new Error("The engine runs while tests run");
    return server;
  };

  beforeAll(async () => {
    server = await start();
  });
  const end = async (which: (cluster: Started) => boolean): Promise<void> => {
    const problems: string[] = [];
    for (const one of clusters.filter(which)) {
      clusters.splice(clusters.indexOf(one), 1);
      problems.push(...one.cluster.problems(one.history));
      await one.cluster.stop();
    }
    expect(problems).toEqual([]);
  };
  afterAll(async () => {
    try {
      await end(() => true);
    } finally {
      await server?.stop();
    }
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((store) => store.close()));
    await end(({ keep }) => !keep);
  });

  fn({
    name,
    get server() {
      return running();
    },
    get postgres() {
      return running() as PostgresServer;
    },
    get redis() {
      return running() as RedisServer;
    },
    async cluster(count, { history, keep = false, ...options } = {}) {
      const cluster = await Cluster.start(
        {
          ...{
            engine: name,
            url: running().url,
            eventsUrl: eventsUrl(),
            space: `faults_${String(++spaces)}`,
          },
          ...options,
        },
        count,
      );
      clusters.push({ cluster, history, keep });
      return cluster;
    },
    open(cluster) {
      const store = openEngine(cluster.options);
      opened.push(store);
      return store;
    },
  });
}
