/*
 * Services over one real engine, each with a client, a store and a manager of its own: what would be processes. They
 * reach the engine through a proxy each, so that one of them can be cut off.
 */
import { afterAll, afterEach, beforeAll } from "vitest";
import type { AgentFactoryLike } from "../../src/agent.js";
import { AgentManager } from "../../src/agent-manager.js";
import { ChatService } from "../../src/chat-service.js";
import type { AgentManagerOptions, ChatOptions } from "../../src/options.js";
import type { Store } from "../../src/store/store.js";
import { openEngine } from "../faults/cluster/engine-store.js";
import {
  describeWithPostgres,
  describeWithRedis,
  startPostgres,
  startProxy,
  startRedis,
  type EngineServer,
  type NetworkProxy,
} from "./engines/index.js";

export interface ServiceProcess<TConfig extends object = object, TContext = unknown> {
  readonly chat: ChatService<TConfig, TContext>;
  readonly manager: AgentManager<TConfig, TContext>;
  readonly store: Store;
  readonly network: NetworkProxy;
  /** Codes of its `error` events. */
  readonly errors: string[];
  /** From here on nothing of it reaches the engine: as after `kill -9`. */
  crash(): void;
}

type StartOptions<TConfig extends object, TContext> = ChatOptions<TConfig, TContext> &
  Pick<AgentManagerOptions, "maxAgents" | "defaultConfig"> & {
    readonly storeOptions?: Readonly<Record<string, unknown>> | undefined;
  };

export interface EngineServices {
  readonly name: "postgres" | "redis";
  readonly server: EngineServer;
  start<TConfig extends object = object, TContext = unknown>(
    factory: AgentFactoryLike<TConfig, TContext>,
    options?: StartOptions<TConfig, TContext>,
  ): Promise<ServiceProcess<TConfig, TContext>>;
}

/** Runs the same tests on Postgres and on Redis, each test in a schema or under a prefix of its own. */
export function withServicesOnEachEngine(title: string, fn: (engine: EngineServices) => void): void {
  describeWithPostgres(`${title}, on Postgres`, () => {
    underTest("postgres", () => startPostgres(), fn);
  });
  describeWithRedis(`${title}, on Redis`, () => {
    underTest("redis", () => startRedis(), fn);
  });
}

let spaces = 0;

function underTest(
  name: EngineServices["name"],
  startServer: () => Promise<EngineServer>,
  fn: (engine: EngineServices) => void,
): void {
  let server: EngineServer | undefined;
  let space = "";
  const closes: (() => Promise<unknown>)[] = [];
  const running = (): EngineServer => {
    if (server === undefined) throw new Error("The engine runs while tests run");
    return server;
  };
  const newSpace = (): void => {
    spaces += 1;
    space = `services_${String(process.pid)}_${String(spaces)}`;
  };
  beforeAll(async () => {
    server = await startServer();
    newSpace();
  });
  afterEach(async () => {
    await Promise.all(closes.splice(0).map((close) => close()));
    newSpace();
  });
  afterAll(() => server?.stop());
  fn({
    name,
    get server() {
      return running();
    },
    async start<TConfig extends object, TContext>(
      factory: AgentFactoryLike<TConfig, TContext>,
      options: StartOptions<TConfig, TContext> = {},
    ) {
      const network = await startProxy(running().url);
      const { maxAgents, defaultConfig, storeOptions, ...chatOptions } = options;
      const opened = openEngine({ engine: name, url: network.url, space, storeOptions: { ...storeOptions } });
      const { store } = opened;
      const manager = new AgentManager<TConfig, TContext>({
        ...{ factory, store, maxAgents, cleanupIntervalMs: 0 },
        // The options above are those of any config; this one is the test's own.
        defaultConfig: defaultConfig as never,
      });
      const chat = new ChatService<TConfig, TContext>({ leaseMs: 30_000, ...chatOptions, manager });
      const errors: string[] = [];
      chat.on("error", ({ error }) => errors.push(error.code));
      closes.push(async () => {
        await chat.close({ drainMs: 0 });
        await manager.close({ drainMs: 0 });
        await opened.close();
        await network.stop();
      });
      return {
        ...{ chat, manager, store, network, errors },
        crash: () => {
          network.cut();
        },
      };
    },
  });
}
