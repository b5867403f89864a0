import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import { isRecord } from "./to-json.js";

/**
 * A compiled LangGraph graph, as far as it is used here. Anything that `StateGraph.compile()` or langchain's
 * `createAgent` gives fits.
 */
export interface CompiledGraph {
  stream(input: never, options?: never): Promise<AsyncIterable<unknown>>;
  invoke(input: never, options?: never): Promise<unknown>;
}

/** What the library calls on a graph; LangGraph's own types depend on the graph's state. */
export interface RunnableGraph {
  checkpointer?: unknown;
  stream(input: unknown, options: object): Promise<AsyncIterable<unknown>>;
  /** What LangChain's `stream` makes a web stream of. */
  _streamIterator?(input: unknown, options: object): AsyncIterable<unknown>;
  getState(config: object): Promise<{ readonly values: unknown }>;
  updateState(config: object, values: unknown, asNode?: string): Promise<unknown>;
  withConfig(config: object): RunnableGraph;
}

const attached = new WeakMap<object, WeakMap<BaseCheckpointSaver, RunnableGraph>>();

/** langchain's `createAgent` wraps its graph. */
function unwrap(graph: unknown): unknown {
  return isRecord(graph) && isRecord(graph["graph"]) && typeof graph["graph"]["stream"] === "function"
    ? graph["graph"]
    : graph;
}

function isRunnableGraph(value: unknown): value is RunnableGraph {
  return (
    isRecord(value) &&
    ["stream", "getState", "updateState", "withConfig"].every((method) => typeof value[method] === "function")
  );
}

/**
 * What `stream` gives, without the two web streams that it wraps around the graph's own iteration, each step of which
 * it runs in a scope of its own. Nobody but the run reads it, and the run has its own way to stop the graph.
 */
export async function streamOf(
  graph: RunnableGraph,
  input: unknown,
  options: object,
): Promise<AsyncIterable<unknown>> {
  return graph._streamIterator?.(input, options) ?? graph.stream(input, options);
}

/**
 * The graph with this checkpointer. A graph may be shared by sessions with different checkpointers, so it is never
 * changed: it gets a shallow copy per checkpointer, made once, which shares its nodes.
 *
 * @throws {TypeError} when it is no compiled graph, or was compiled with another checkpointer.
 */
export function withCheckpointer(value: unknown, checkpointer: BaseCheckpointSaver): RunnableGraph {
  const graph = unwrap(value);
  if (!isRunnableGraph(graph)) {
    throw new TypeError(
      `Expected \`graph\` to be a compiled LangGraph graph or an agent of \`createAgent\`, got ${value === null ? "null" : typeof value}`,
    );
  }
  if (graph.checkpointer === checkpointer) return graph;
  if (isRecord(graph.checkpointer)) {
    throw new TypeError(
      "Expected `graph` to be compiled without a checkpointer or with `context.checkpointer`, got another one",
    );
  }
  let copies = attached.get(graph);
  if (copies === undefined) attached.set(graph, (copies = new WeakMap()));
  let copy = copies.get(checkpointer);
  if (copy === undefined) {
    copy = graph.withConfig({});
    copy.checkpointer = checkpointer;
    copies.set(checkpointer, copy);
  }
  return copy;
}
