import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { RunInfo } from "../../src/index.js";
import type { Script } from "../../src/testing/index.js";
import { lastUserText } from "../support/chat.js";
import { bearer, handlerFor, serve } from "../support/http-service.js";

/*
 * What http-fuzz.test.ts cannot reach, for nearly all that it sends is refused at the door: conversations as clients
 * have them, in every protocol, of requests that are right as they are or in which one or two places are not. Half of
 * them go through a server of node:http, half to the handler itself.
 */

const SECRET = "sk-provider-secret at 10.1.2.3";
const CONVERSATIONS = Number(process.env["HTTP_FUZZ_CONVERSATIONS"] ?? 400);
const LONGEST_ANSWER_MS = 60_000;
const LOOK_MS = 100;

/** What a request is made of when it is sent. */
interface Known {
  readonly session: string;
  /** The run of the session that is under way, or was last. */
  readonly run: RunInfo | undefined;
}

interface Ask {
  readonly method: "GET" | "POST" | "DELETE";
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

interface Step {
  readonly kind: string;
  readonly ask: (known: Known) => Ask;
  readonly mutations: readonly Mutation[];
  /** The client goes away with the head of the answer. */
  readonly leaves: boolean;
}

interface Mutation {
  readonly place: number;
  readonly how: "replace" | "remove" | "wrap" | "rename" | "double";
  readonly junk: unknown;
}

const text = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom("Hello", "你好", "remove it", "remove it", "remove both", "add", "fail"),
  },
  { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 20 }) },
);
const id = fc.constantFrom("m1", "m2", "__proto__", "toString", "ü/:0");
const junk = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom<unknown>(
    "\u0000",
    "\ud800",
    "a".repeat(300),
    {},
    [],
    null,
    -1,
    1e300,
    "__proto__",
    ":",
    "x:999",
  ),
);

const decision = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom<unknown>({ type: "approve" }, { type: "reject", message: "no" }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<unknown>(
      { type: "edit", editedAction: { name: "remove", args: { path: "/y" } } },
      { type: "edit", editedAction: { name: "nope", args: [] } },
      { type: "edit", editedAction: { name: "remove", args: { path: 5 } } },
      { type: "approve", message: { a: 1 } },
      { type: "constructor" },
    ),
  },
);

function path(session: string, tail: string): string {
  return `/chat/${encodeURIComponent(session)}/${tail}`;
}

function asked({ run }: Known): { id: string; count: number } {
  const [interrupt] = run?.status === "interrupted" ? run.interrupts : [];
  const value = interrupt?.value as { actionRequests?: unknown[] } | undefined;
  return { id: interrupt?.id ?? "none", count: value?.actionRequests?.length ?? 1 };
}

function each<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index));
}

const optional = {
  run_id: id,
  on_busy: fc.constantFrom("enqueue", "reject", "interrupt", "rollback"),
  stream: fc.boolean(),
};

const plainChat = fc
  .tuple(
    fc.oneof(
      text,
      text.map((content) => ({ id: "m1", content })),
      text.map((content) => [{ type: "text", text: content }]),
    ),
    fc.record(optional, { requiredKeys: [] }),
    fc.constantFrom("", "?format=events"),
  )
  .map(([message, more, query]) => ({
    kind: "chat",
    ask: ({ session }: Known): Ask => ({
      method: "POST",
      path: `/chat${query}`,
      body: { session_id: session, message, ...more },
    }),
  }));

const uiChat = fc
  .record({
    id,
    text,
    file: fc.boolean(),
    how: fc.constantFrom("new", "new", "new", "edit", "regenerate"),
    more: fc.record(optional, { requiredKeys: [] }),
  })
  .map(({ id, text, file, how, more }) => ({
    kind: "AI SDK",
    ask: ({ session }: Known): Ask => {
      const own = how === "new" ? `${id}-${randomUUID()}` : id;
      const parts = [
        { type: "text", text },
        ...(file ? [{ type: "file", mediaType: "image/png", url: "data:image/png;base64,AAAA" }] : []),
      ];
      const trigger = how === "regenerate" ? "regenerate-message" : "submit-message";
      const body = { id: session, messages: [{ id: own, role: "user", parts }], trigger, ...more };
      return { method: "POST", path: "/chat", body: how === "edit" ? { ...body, messageId: own } : body };
    },
  }));

const uiApproval = fc.boolean().map((approved) => ({
  kind: "AI SDK approval",
  ask: (known: Known): Ask => {
    const { id, count } = asked(known);
    const parts = each(count, (index) => ({
      type: "dynamic-tool",
      toolName: "remove",
      toolCallId: `call-${String(index)}`,
      state: "approval-responded",
      input: { path: "/x" },
      approval: { id: `${id}:${String(index)}`, approved, reason: "said so" },
    }));
    const messages = [{ id: "a1", role: "assistant", parts }];
    return {
      method: "POST",
      path: "/chat",
      body: { id: known.session, messages, trigger: "submit-message" },
    };
  },
}));

const agUi = text.map((content) => ({
  kind: "AG-UI",
  ask: ({ session }: Known): Ask => ({
    method: "POST",
    path: "/ag-ui",
    body: {
      threadId: session,
      runId: randomUUID(),
      protocolVersion: "1.0",
      messages: [{ id: randomUUID(), role: "user", content }],
      tools: [],
      context: [],
      state: {},
      forwardedProps: {},
    },
  }),
}));

const agUiResume = fc
  .tuple(decision, fc.constantFrom("resolved", "resolved", "cancelled", "legacy"))
  .map(([payload, how]) => ({
    kind: "AG-UI resume",
    ask: (known: Known): Ask => {
      const { id, count } = asked(known);
      const common = { threadId: known.session, runId: randomUUID(), messages: [] };
      const decisions = each(count, () => payload);
      const resume = each(count, (index) => ({
        interruptId: `${id}:${String(index)}`,
        status: how,
        payload,
      }));
      const body =
        how === "legacy"
          ? { forwardedProps: { command: { resume: JSON.stringify({ decisions }) } } }
          : { resume };
      return { method: "POST", path: "/ag-ui", body: { ...common, ...body } };
    },
  }));

const resume = fc.tuple(decision, fc.boolean()).map(([payload, stream]) => ({
  kind: "resume",
  ask: (known: Known): Ask => {
    const { id, count } = asked(known);
    const answers = { [id]: { decisions: each(count, () => payload) } };
    return { method: "POST", path: path(known.session, "resume"), body: { answers, stream } };
  },
}));

const follow = fc
  .tuple(fc.constantFrom("", "?format=events"), fc.option(fc.nat(30)))
  .map(([query, after]) => ({
    kind: "follow",
    ask: ({ session, run }: Known): Ask => ({
      method: "GET",
      path: path(session, `stream${query}`),
      headers: after === null ? {} : { "last-event-id": `${run?.runId ?? "r"}:${String(after)}` },
    }),
  }));

const others = fc.constantFrom(
  {
    kind: "stop",
    ask: ({ session }: Known): Ask => ({ method: "POST", path: path(session, "stop"), body: {} }),
  },
  {
    kind: "messages",
    ask: ({ session }: Known): Ask => ({ method: "GET", path: path(session, "messages?limit=3") }),
  },
  {
    kind: "messages",
    ask: ({ session }: Known): Ask => ({ method: "GET", path: path(session, "messages?format=ai-sdk") }),
  },
  { kind: "sessions", ask: (): Ask => ({ method: "GET", path: "/sessions?limit=2" }) },
  {
    kind: "delete",
    ask: ({ session }: Known): Ask => ({
      method: "DELETE",
      path: `/sessions/${encodeURIComponent(session)}`,
    }),
  },
);

const mutation: fc.Arbitrary<Mutation> = fc.record({
  place: fc.nat(),
  how: fc.constantFrom("replace", "replace", "remove", "wrap", "rename", "double"),
  junk,
});
/** One of these, as it should be or with mistakes. */
function stepOf(
  ...kinds: [weight: number, arbitrary: fc.Arbitrary<Pick<Step, "kind" | "ask">>][]
): fc.Arbitrary<Step> {
  return fc
    .tuple(
      fc.oneof(...kinds.map(([weight, arbitrary]) => ({ weight, arbitrary }))),
      fc.oneof(
        { weight: 3, arbitrary: fc.constant<Mutation[]>([]) },
        { weight: 2, arbitrary: fc.array(mutation, { minLength: 1, maxLength: 2 }) },
      ),
      fc.nat(9),
    )
    .map(([made, mutations, dice]) => ({ ...made, mutations, leaves: dice === 0 }));
}

interface Turn {
  readonly free: Step;
  readonly answer: Step;
  readonly isMistaken: boolean;
}

/** What is sent while nothing is asked of the user, and what when something is; by mistake the other one. */
const step: fc.Arbitrary<Turn> = fc.record({
  free: stepOf([4, plainChat], [4, uiChat], [3, agUi], [2, follow], [2, others]),
  answer: stepOf([3, uiApproval], [3, agUiResume], [3, resume], [1, follow], [1, others]),
  isMistaken: fc.nat(7).map((dice) => dice === 0),
});

/** Changes one place of a body, chosen among all that it has. */
function mutate(body: unknown, { place, how, junk }: Mutation): unknown {
  const root = { body };
  const places: [holder: Record<string, unknown>, key: string][] = [];
  const visit = (holder: Record<string, unknown>): void => {
    for (const [key, value] of Object.entries(holder)) {
      places.push([holder, key]);
      // Lists are entered by their indexes.
      if (typeof value === "object" && value !== null) visit(value as Record<string, unknown>);
    }
  };
  visit(root);
  const [holder, key] = places[place % places.length]!;
  const old = holder[key];
  if (how === "replace") holder[key] = junk;
  else if (how === "wrap") holder[key] = [old];
  else if (how === "double")
    holder[key] = Array.isArray(old) ? [...(old as unknown[]), ...(old as unknown[])] : { ...holder };
  else {
    Reflect.deleteProperty(holder, key);
    if (how === "rename") holder[`${key}s`] = old;
  }
  return root.body;
}

/** Does what it is told to; both ways to fail hold words that no client may see. */
const script: Script = (messages) => {
  const said = lastUserText(messages);
  const last = messages.at(-1);
  if (last?.type === "tool") return { text: ["Do", "ne."], delayMs: 1 };
  if (said.includes("fail")) return { text: ["half"], error: new Error(SECRET), errorAfter: 1 };
  const removal = { name: "remove", args: { path: "/x" } };
  if (said.includes("both")) return { text: ["I ask."], toolCalls: [removal, removal] };
  if (said.includes("remove")) return { text: ["I ask."], toolCalls: [removal] };
  if (said.includes("add")) return { text: "", toolCalls: [{ name: "add", args: { a: 1, b: "no number" } }] };
  return { text: ["He", "llo"], delayMs: 1 };
};

const ENDS = /"type":"(run-finished|finish|error|abort|RUN_FINISHED|RUN_ERROR)"/;

/**
 * Resolves as the exchange does. One that queues behind a question nobody has answered yet waits for that, as it should,
 * and is undefined; one that waits for nothing rejects.
 */
async function within<T>(exchange: Promise<T>, isParked: () => Promise<boolean>): Promise<T | undefined> {
  const given = new AbortController();
  const late = async (): Promise<undefined> => {
    let parked = 0;
    for (let waited = 0; waited < LONGEST_ANSWER_MS; waited += LOOK_MS) {
      await sleep(LOOK_MS, undefined, { signal: given.signal });
      parked = (await isParked()) ? parked + 1 : 0;
      if (parked === 3) return undefined;
    }
    throw new Error("There is no answer.");
  };
  const lateness = late();
  lateness.catch(() => undefined);
  return Promise.race([exchange, lateness]).finally(() => {
    given.abort();
  });
}

test("conversations with mistakes in them are answered or refused, whole and without a word of the inside", async () => {
  const faults: unknown[] = [];
  const { chat, handler } = await handlerFor(script, {
    onError: (error) => void faults.push(error),
    agUi: { legacyInterrupts: true },
  });
  const url = await serve(handler);
  const counts = new Map<string, { sent: number; accepted: number }>();
  const countOf = (kind: string) => {
    let count = counts.get(kind);
    if (count === undefined) counts.set(kind, (count = { sent: 0, accepted: 0 }));
    return count;
  };

  const take = async (
    { free, answer: whenAsked, isMistaken }: Turn,
    session: string,
    served: boolean,
  ): Promise<void> => {
    const run = await chat.getRun({ sessionId: session, userId: "ann" });
    const step = (run?.status === "interrupted") === isMistaken ? free : whenAsked;
    const { method, path, body, headers } = step.ask({ session, run });
    const json =
      body === undefined ? undefined : JSON.stringify(step.mutations.reduce(mutate, structuredClone(body)));
    const leave = new AbortController();
    const init: RequestInit = {
      method,
      headers: {
        ...bearer("ann"),
        ...headers,
        ...(json === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(json === undefined ? {} : { body: json }),
      signal: leave.signal,
    };
    const what = `${method} ${path} ${json ?? ""}`;
    // A run that asks while nobody reads parks whatever is said next.
    const leaves = step.leaves && !what.includes("remove");
    const exchange = async () => {
      const answer = await (served
        ? fetch(url + path, init)
        : handler(new Request(`http://x/agent_backend${path}`, init)));
      for (const kind of ["all", step.mutations.length === 0 ? step.kind : "with mistakes"]) {
        countOf(kind).sent += 1;
        if (answer.ok) countOf(kind).accepted += 1;
      }
      return { answer, told: leaves ? "" : await answer.text() };
    };
    const isParked = async () =>
      (await chat.getRun({ sessionId: session, userId: "ann" }))?.status === "interrupted";
    const exchanged = await within(exchange(), isParked).catch((error: unknown) => {
      throw new Error(what, { cause: error });
    });
    if (leaves || exchanged === undefined) {
      leave.abort();
      await exchanged?.answer.body?.cancel().catch(() => undefined);
      return;
    }
    const { answer, told } = exchanged;
    const isStream = answer.headers.get("content-type")?.startsWith("text/event-stream") === true;
    const failed = /"code":"(AGENT_FAILED|MODEL_\w+)"/.test(told);
    expect({
      what,
      status: answer.status < 500 || (failed && !isStream) ? "as meant" : answer.status,
      // Whoever says that they have had the end gets no other.
      end: isStream && headers?.["last-event-id"] === undefined && !ENDS.test(told) ? told : "there",
      secrets: /sk-provider|10\.1\.2\.3|\n\s+at |node_modules/.exec(told)?.[0],
      faults,
    }).toEqual({ what, status: "as meant", end: "there", secrets: undefined, faults: [] });
  };

  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 8 }), fc.boolean(), async (steps, served) => {
      faults.length = 0;
      const session = randomUUID();
      for (const step of steps) await take(step, session, served);
    }),
    { numRuns: CONVERSATIONS, endOnFailure: true },
  );
  // A conversation that is refused at its door tests nothing behind it.
  for (const [kind, { sent, accepted }] of counts) {
    const share = kind === "with mistakes" ? 0.1 : 0.2;
    if (sent >= 50) expect(accepted / sent, `accepted of ${kind}`).toBeGreaterThan(share);
  }
  expect(countOf("all").sent).toBeGreaterThan(4 * CONVERSATIONS);
  expect((await chat.getHealth()).ready).toBe(true);
}, 600_000);
