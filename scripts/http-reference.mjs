/*
 * Writes docs/http-reference.md from the OpenAPI document: `npm run docs:http`, which builds first. A test holds the
 * file to what this gives.
 */
import { writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const INTRO = `# HTTP reference

Written from the OpenAPI document by \`npm run docs:http\`; a running handler serves the same as
\`GET /agent_backend/openapi.json\`. Paths are under the base path, \`/agent_backend\` unless \`basePath\` says otherwise.
How to mount the handler is in [Over HTTP](http.md), who may call it in [Authentication](auth.md), what front ends do with
it in [Front ends](front-ends.md).
`;

const ACCESS = {
  public: "Anybody.",
  user: "Users, for what is their own; another's is not found.",
  admin: "Admins only.",
};

/** The page, from a document as `openApiDocument` gives it. */
export function renderHttpReference(document) {
  const { paths, components, "x-errors": errors } = document;
  const routes = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
  );
  const parts = [
    INTRO,
    "## Routes\n",
    table(
      ["route", "who", "what"],
      routes.map((route) => [
        `[\`${route.method} ${route.path}\`](#${anchor(headingOf(route))})`,
        accessOf(route.operation),
        route.operation.summary,
      ]),
    ),
    ...routes.map(routeSection),
    "## Objects\n",
    "Fields of requests that are optional may also be null.\n",
    ...Object.entries(components.schemas).map(([name, schema]) => objectSection(name, schema)),
    "## Errors\n",
    `Every refusal is a status and \`{"error":{"code","message","retryable"}}\`; the message is fixed text, and what the
host has to know goes to its \`onError\` and to the service's \`error\` event. 429 and 503 come with \`Retry-After\`. A run that
fails after its stream has begun ends with the protocol's own error, under the same codes.\n`,
    table(
      ["code", "status", "message"],
      errors.map(({ code, status, message }) => [`\`${code}\``, String(status), message]),
    ),
  ];
  return parts.join("\n");
}

function headingOf({ method, path }) {
  return `${method} ${path}`;
}

function accessOf({ tags, security }) {
  if (tags.includes("admin")) return security === undefined ? "admin" : "public";
  return security === undefined ? "user" : "public";
}

function routeSection(route) {
  const { operation } = route;
  const { parameters = [], requestBody, responses } = operation;
  const lines = [`### ${headingOf(route)}\n`, `${operation.summary} ${ACCESS[accessOf(operation)]}\n`];
  if (parameters.length > 0) {
    lines.push(
      table(
        ["parameter", "in", "type", "meaning"],
        parameters.map(({ name, in: where, schema, description }) => [
          `\`${name}\``,
          where,
          typeOf(schema),
          description,
        ]),
      ),
    );
  }
  if (requestBody !== undefined) {
    const { schema } = requestBody.content["application/json"];
    lines.push(`Body${requestBody.required ? "" : " (may be left out)"}: ${typeOf(schema)}\n`);
  }
  lines.push(
    table(
      ["status", "answer", "type"],
      Object.entries(responses).map(([status, { description, content = {} }]) => [
        status === "default" ? "else" : status,
        description,
        Object.entries(content)
          .map(([type, { schema }]) => (type === "application/json" ? typeOf(schema) : `\`${type}\``))
          .join(" or ") || "none",
      ]),
    ),
  );
  return lines.join("\n");
}

function objectSection(name, schema) {
  const forms = schema.oneOf ?? [schema];
  const lines = [`### ${name}\n`];
  for (const [index, form] of forms.entries()) {
    if (forms.length > 1) lines.push(`${index === 0 ? "Either" : "Or"}:\n`);
    if (form.description !== undefined) lines.push(`${form.description}\n`);
    lines.push(
      table(
        ["field", "type", "", "meaning"],
        Object.entries(form.properties).map(([field, value]) => [
          `\`${field}\``,
          form.required?.includes(field) ? typeOf(value) : typeOf(withoutNull(value)),
          form.required?.includes(field) ? "" : "optional",
          [value.description, value.default === undefined ? "" : `Default: \`${String(value.default)}\`.`]
            .filter(Boolean)
            .join(" "),
        ]),
      ),
    );
  }
  return lines.join("\n");
}

/** What an optional field is when it is there. */
function withoutNull(schema) {
  if (schema.enum !== undefined) return { ...schema, enum: schema.enum.filter((one) => one !== null) };
  if (!Array.isArray(schema.type)) return schema;
  return { ...schema, type: schema.type.find((one) => one !== "null") };
}

/** A schema in few words; a schema of another name as a link to it. */
function typeOf(schema) {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.split("/").at(-1);
    return `[${name}](#${anchor(name)})`;
  }
  if (schema.const !== undefined) return `\`${JSON.stringify(schema.const)}\``;
  if (schema.enum !== undefined) {
    return schema.enum.length > 12
      ? "see [Errors](#errors)"
      : schema.enum.map((one) => `\`${one}\``).join(", ");
  }
  const forms = schema.oneOf ?? schema.anyOf;
  if (forms !== undefined) return forms.map(typeOf).join(" or ");
  if (Array.isArray(schema.type)) return schema.type.join(" or ");
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  if (schema.type === "object" && schema.properties !== undefined) {
    const fields = Object.entries(schema.properties).map(([name, value]) => {
      return `\`${name}\`${schema.required?.includes(name) ? "" : "?"}: ${typeOf(value)}`;
    });
    return `{ ${fields.join("; ")} }`;
  }
  if (schema.type === undefined) return "any JSON";
  return schema.format ?? schema.type;
}

function anchor(heading) {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");
}

/** A column without anything in it says nothing, and is left out. */
function table(head, rows) {
  const kept = head.map((_, index) => rows.some((row) => row[index]));
  const line = (row) => {
    const cells = row.filter((_, index) => kept[index]).map((cell) => (cell ?? "").replaceAll("|", "\\|"));
    return `| ${cells.join(" | ")} |`;
  };
  const rule = `|${kept.map((keep) => (keep ? "---|" : "")).join("")}`;
  return `${[line(head), rule, ...rows.map(line)].join("\n")}\n`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const { openApiDocument } = await import("../dist/http.js");
  writeFileSync(
    new URL("../docs/http-reference.md", import.meta.url),
    renderHttpReference(openApiDocument("/agent_backend")),
  );
}
