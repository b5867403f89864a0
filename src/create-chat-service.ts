import type { AgentConfig, AgentFactory } from "./agent.js";
import { AgentManager, MANAGER_OPTION_KEYS } from "./agent-manager.js";
import { ChatService } from "./chat-service.js";
import type { LangGraphConfig, LangGraphFactoryOptions } from "./langgraph/factory.js";
import type { AgentManagerOptions } from "./options.js";
import { CHAT_OPTION_KEYS, type ChatServiceOptions } from "./service/service-options.js";

/** All that {@link ChatService.create} takes: options of the LangGraph factory, the manager and the service. */
export type CreateChatOptions<TContext = unknown> = LangGraphFactoryOptions<TContext> &
  Omit<AgentManagerOptions<LangGraphConfig, TContext>, "factory"> &
  Omit<ChatServiceOptions<LangGraphConfig, TContext>, "manager">;

/** Everything that was made for a service, to be closed with it. */
export interface CreatedService<TContext> {
  readonly chat: ChatService<LangGraphConfig, TContext>;
  close(): Promise<void>;
}

function pick(options: object, keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([key]) => keys.includes(key)));
}

/** Makes factory, manager and service; the options of each are checked by itself. */
export async function createParts<TContext>(
  options: CreateChatOptions<TContext>,
): Promise<CreatedService<TContext>> {
  // Only here: who builds agents without LangGraph must not need it.
  const { createLangGraphFactory } = await import("./langgraph/factory.js");
  const factoryOptions = Object.fromEntries(
    Object.entries(options).filter(
      ([key]) => key === "clock" || !(isKey(MANAGER_OPTION_KEYS, key) || isKey(CHAT_OPTION_KEYS, key)),
    ),
  );
  const factory: AgentFactory<LangGraphConfig, TContext> = createLangGraphFactory<TContext>(factoryOptions);
  const { provider, model } = options as { readonly provider?: unknown; readonly model?: unknown };
  const named: AgentConfig<LangGraphConfig> = {
    provider: typeof provider === "string" ? provider : undefined,
    model: typeof model === "string" ? model : undefined,
  };
  const manager = new AgentManager<LangGraphConfig, TContext>({
    ...pick(options, MANAGER_OPTION_KEYS),
    factory,
    defaultConfig: { ...named, ...options.defaultConfig },
  });
  try {
    await manager.ready();
    const chat = new ChatService<LangGraphConfig, TContext>({ ...pick(options, CHAT_OPTION_KEYS), manager });
    return {
      chat,
      close: async () => {
        try {
          await manager.close({ drainMs: 0 });
        } finally {
          await factory.close?.();
        }
      },
    };
  } catch (error) {
    await manager.close({ drainMs: 0 });
    throw error;
  }
}

function isKey(keys: readonly string[], key: string): boolean {
  return keys.includes(key);
}
