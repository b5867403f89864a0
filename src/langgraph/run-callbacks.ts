import { randomUUID } from "node:crypto";
import type { BaseCallbackHandler } from "@langchain/core/callbacks/base";
import {
  CallbackManager,
  CallbackManagerForChainRun,
  CallbackManagerForLLMRun,
} from "@langchain/core/callbacks/manager";
import type { RunTap } from "./run-events.js";

/*
 * LangChain's callback managers for runs whose only handler is the tap, which is every run unless the host traces or
 * has handlers on its models.
 *
 * LangChain copies the manager some seventeen times in a turn, key by key, and calls each handler, also one that ignores
 * the call, through promises and an AsyncLocalStorage scope of its own: for a single handler that is known to be safe
 * most of that is the price of generality. Here copies are shallow and the tap is called directly. As soon as there
 * is another handler, everything is LangChain's own again.
 */

type Copied = Pick<
  CallbackManager,
  "handlers" | "inheritableHandlers" | "tags" | "inheritableTags" | "metadata" | "inheritableMetadata"
>;

/** What is given as `callbacks` of a run: its tap, as a callback manager. */
export class RunCallbacks extends CallbackManager {
  readonly #tap: RunTap;

  constructor(tap: RunTap, parentRunId?: string) {
    super(parentRunId);
    this.#tap = tap;
    this.handlers = [tap];
    this.inheritableHandlers = [tap];
  }

  override copy(additionalHandlers: BaseCallbackHandler[] = [], inherit = true): CallbackManager {
    const copy = new RunCallbacks(this.#tap, this._parentRunId);
    copyInto(copy, this);
    for (const handler of additionalHandlers) copy.addHandler(handler, inherit);
    return copy;
  }

  override handleChainStart(
    ...args: Parameters<CallbackManager["handleChainStart"]>
  ): Promise<CallbackManagerForChainRun> {
    if (!this.#isAlone) return super.handleChainStart(...args);
    const [chain, inputs, runId = randomUUID()] = args;
    if (!this.#tap.ignoreChain) this.#tap.handleChainStart(chain, inputs, runId, this._parentRunId);
    return Promise.resolve(new ChainRun(this.#tap, runId, this));
  }

  override async handleChatModelStart(
    ...args: Parameters<CallbackManager["handleChatModelStart"]>
  ): Promise<CallbackManagerForLLMRun[]> {
    const [llm, messages, runId = randomUUID(), , extra] = args;
    if (!this.#isAlone || messages.length !== 1) return super.handleChatModelStart(...args);
    const { tags, _parentRunId: parentRunId } = this;
    await this.#tap.handleChatModelStart(llm, messages, runId, parentRunId, extra, tags);
    return [new ModelRun(this.#tap, runId, this)];
  }

  get #isAlone(): boolean {
    return this.handlers.length === 1 && this.handlers[0] === this.#tap;
  }
}

class ChainRun extends CallbackManagerForChainRun {
  readonly #tap: RunTap;

  constructor(tap: RunTap, runId: string, manager: CallbackManager) {
    super(...partsOf(runId, manager));
    this.#tap = tap;
  }

  override getChild(tag?: string): CallbackManager {
    const child = new RunCallbacks(this.#tap, this.runId);
    const { inheritableHandlers, inheritableMetadata, inheritableTags } = this;
    copyInto(child, {
      handlers: inheritableHandlers,
      tags: inheritableTags,
      metadata: inheritableMetadata,
      ...{ inheritableHandlers, inheritableMetadata, inheritableTags },
    });
    if (tag !== undefined && tag !== "") child.addTags([tag], false);
    return child;
  }

  override handleChainEnd(...args: Parameters<CallbackManagerForChainRun["handleChainEnd"]>): Promise<void> {
    if (!this.#tap.ignoreChain) this.#tap.handleChainEnd(args[0], this.runId);
    return Promise.resolve();
  }

  override handleChainError(
    ...args: Parameters<CallbackManagerForChainRun["handleChainError"]>
  ): Promise<void> {
    if (!this.#tap.ignoreChain) this.#tap.handleChainError(args[0], this.runId);
    return Promise.resolve();
  }
}

class ModelRun extends CallbackManagerForLLMRun {
  readonly #tap: RunTap;

  constructor(tap: RunTap, runId: string, manager: CallbackManager) {
    super(...partsOf(runId, manager));
    this.#tap = tap;
  }

  override handleLLMNewToken(
    ...[token, indices, , , , fields]: Parameters<CallbackManagerForLLMRun["handleLLMNewToken"]>
  ): Promise<void> {
    const { runId, _parentRunId: parentRunId, tags } = this;
    return this.#tap.handleLLMNewToken(token, indices, runId, parentRunId, tags, fields) ?? DONE;
  }

  override handleLLMEnd(...[output]: Parameters<CallbackManagerForLLMRun["handleLLMEnd"]>): Promise<void> {
    return this.#tap.handleLLMEnd(output, this.runId);
  }

  override handleLLMError(...[error]: Parameters<CallbackManagerForLLMRun["handleLLMError"]>): Promise<void> {
    return this.#tap.handleLLMError(error, this.runId);
  }
}

const DONE = Promise.resolve();

function copyInto(target: Copied, source: Copied): void {
  target.handlers = source.handlers.slice();
  target.inheritableHandlers = source.inheritableHandlers.slice();
  target.tags = source.tags.slice();
  target.inheritableTags = source.inheritableTags.slice();
  target.metadata = { ...source.metadata };
  target.inheritableMetadata = { ...source.inheritableMetadata };
}

function partsOf(
  runId: string,
  manager: CallbackManager,
): ConstructorParameters<typeof CallbackManagerForChainRun> {
  const { handlers, inheritableHandlers, tags, inheritableTags, metadata, inheritableMetadata } = manager;
  return [
    ...([runId, handlers, inheritableHandlers, tags, inheritableTags] as const),
    ...([metadata, inheritableMetadata, manager.getParentRunId()] as const),
  ];
}
