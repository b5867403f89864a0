import { Ajv2020 } from "ajv/dist/2020.js";
import fc from "fast-check";
import { expect, test } from "vitest";
import { openApiDocument } from "../../src/http/index.js";
import { bearer, handlerFor } from "../support/http-service.js";

/*
 * What the OpenAPI document says of request bodies is what the handler takes: `INVALID_INPUT` exactly where the schema
 * says so.
 */

const BASE = "http://host.test/agent_backend";
const ajv = new Ajv2020({ strict: false });
ajv.addSchema(openApiDocument("/agent_backend"), "openapi");

/** What any field may be by mistake. */
const JUNK: readonly unknown[] = [
  ...[null, true, false, 0, -1.5, "", " \n", ".", "..", "...", "x", "x".repeat(200), "x".repeat(201)],
  ...["a\u0000b", "a\u0085b", "\ud800", "安", [], [null], ["x"], [[]], [{}], {}, { type: "text" }],
  ...[[{ type: "text", text: "Hi" }], [{ type: 7 }], { content: "Hi" }, { id: 7, content: "Hi" }],
  ...[{ id: "", content: "Hi" }, { content: [] }, { content: " " }, { id: null, content: "Hi" }],
];

const ID = ["s1", "s2"];
const RUN = { run_id: ["r1", "r2"], stream: [true, false] };
const user = { id: "m1", role: "user", parts: [{ type: "text", text: "Hi" }] };
const said = { id: "m1", role: "user", content: "Hi" };

/** Of each body the fields, and values that fit them. The last of a list of messages is always a proper one. */
const bodies: Record<string, { path: string; fields: Record<string, readonly unknown[]> }> = {
  ChatRequest: {
    path: "/chat",
    fields: {
      session_id: ID,
      id: ID,
      message: ["Hi", { id: "m2", content: "Hi" }, [{ type: "text", text: "Hi" }]],
      messages: [[user], [{ role: "system" }, user], [7, user], [null, user]],
      trigger: ["submit-message", "regenerate-message"],
      messageId: ["m1"],
      on_busy: ["enqueue", "reject", "interrupt", "rollback"],
      provider: ["openai"],
      model_name: ["gpt-4.1"],
      model: ["gpt-4.1"],
      ...RUN,
    },
  },
  ResumeRequest: { path: "/chat/s1/resume", fields: { answers: [{ a: "yes" }, { a: null, b: {} }], ...RUN } },
  StopRequest: { path: "/chat/s1/stop", fields: { run_id: RUN.run_id } },
  AgUiRequest: {
    path: "/ag-ui",
    fields: {
      threadId: ID,
      runId: ["r1", "r2"],
      messages: [[said], [{ role: "tool" }, said], [7, said]],
      resume: [
        [{ interruptId: "i:input", status: "resolved" }],
        [{ interruptId: "i:0", status: "cancelled" }],
      ],
    },
  },
};

/** Not what a list of messages ends with: see below. */
const isOpen = (name: string, value: unknown): boolean =>
  name === "messages" &&
  Array.isArray(value) &&
  value.length > 0 &&
  value.every((item) => isPlainObject(item));

function isPlainObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

async function codeOf(answer: Response): Promise<string | undefined> {
  if (answer.ok) {
    await answer.body?.cancel();
    return undefined;
  }
  return ((await answer.json()) as { error: { code: string } }).error.code;
}

async function poster(): Promise<(path: string, body: unknown) => Promise<string | undefined>> {
  const { handler } = await handlerFor(() => "Hello", {
    allowModels: [{ provider: "openai", model: "gpt-4.1" }],
  });
  const send = async (path: string, body: unknown): Promise<string | undefined> =>
    codeOf(
      await handler(
        new Request(BASE + path, {
          method: "POST",
          headers: { "content-type": "application/json", ...bearer("ann") },
          body: JSON.stringify(body),
        }),
      ),
    );
  // What is resumed and stopped below.
  expect(await send("/chat", { session_id: "s1", message: "Hi", stream: false })).toBeUndefined();
  return send;
}

test.each(Object.entries(bodies))("%s is what the handler takes", async (name, { path, fields }) => {
  const validate = ajv.getSchema(`openapi#/components/schemas/${name}`);
  const send = await poster();
  const counts = { valid: 0, invalid: 0 };
  const record = Object.fromEntries(
    Object.entries(fields).map(([field, fitting]) => [
      field,
      fc.oneof(
        { weight: 6, arbitrary: fc.constantFrom(...fitting) },
        { weight: 1, arbitrary: fc.constantFrom(...JUNK.filter((value) => !isOpen(field, value))) },
      ),
    ]),
  );
  const whole = fc.record(record);
  const some = fc.record(record, { requiredKeys: [] });
  await fc.assert(
    fc.asyncProperty(fc.oneof(whole, some), async (body) => {
      const valid = validate?.(body) === true;
      counts[valid ? "valid" : "invalid"] += 1;
      const code = await send(path, body);
      // A model that is not offered is refused before the insides of a message are looked at.
      const refused = code === "INVALID_INPUT" || (!valid && code === "FORBIDDEN");
      expect([refused, code, body]).toEqual([!valid, code, body]);
    }),
    { numRuns: 400 },
  );
  // Neither is what hardly ever comes up.
  expect(Math.min(counts.valid, counts.invalid)).toBeGreaterThan(20);
});

test("what no schema can say is refused all the same", async () => {
  const send = await poster();
  const chat = (messages: object[]) => send("/chat", { id: "s1", messages });
  for (const last of [{}, { ...user, id: 7 }, { ...user, parts: [{}] }, { ...user, role: "assistant" }])
    expect([last, await chat([user, last])]).toEqual([last, "INVALID_INPUT"]);
  const agUi = (messages: object[]) => send("/ag-ui", { threadId: "s1", runId: "r", messages });
  for (const last of [{}, { ...said, id: 7 }, { ...said, content: 7 }, { ...said, role: "assistant" }])
    expect([last, await agUi([said, last])]).toEqual([last, "INVALID_INPUT"]);
  const emoji = "😀".repeat(101);
  expect(await send("/chat", { session_id: emoji, message: "Hi" })).toBe("INVALID_INPUT");
});
