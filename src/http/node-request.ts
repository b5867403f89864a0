import { isUtf8 } from "node:buffer";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createRequest } from "@remix-run/node-fetch-server";
import { notText, OWN_BODY, type OwnBody } from "./body.js";
import { HttpError } from "./errors.js";

/** What is used of Express's request; plain `node:http` has the first part alone. */
export type NodeRequest = IncomingMessage & {
  readonly originalUrl?: string | undefined;
  /** What a body parser made of the body. */
  readonly body?: unknown;
};

/** A request of Node as one of fetch, whole: body and signal are Node's own. */
export function toRequest(req: NodeRequest, res: ServerResponse, url: string): Request {
  const parsed = parsedBody(req);
  // The bridge reads these two; everything else comes from the request itself.
  const shadow = Object.create(req, {
    url: { value: url },
    method: { value: parsed === undefined ? req.method : "GET" },
  }) as IncomingMessage;
  const request = createRequest(shadow, res);
  if (parsed === undefined) return request;
  const headers = new Headers(request.headers);
  describeParsed(headers);
  const { method = "POST" } = req;
  // A string would be given a type of its own where the request has none.
  const body = typeof parsed === "string" ? new TextEncoder().encode(parsed) : parsed;
  return new Request(request.url, { method, headers, signal: request.signal, body });
}

/**
 * Takes out what tells of the body as it was on the wire. Its type stays: by it the handler knows what a page of
 * another site can have sent, and a form is none of JSON whatever a parser made of it.
 */
function describeParsed(headers: Headers): void {
  headers.delete("content-length");
  headers.delete("content-encoding");
}

/** The body again, when a body parser has taken it; undefined when it can still be read. */
function parsedBody(req: NodeRequest): string | Uint8Array<ArrayBuffer> | undefined {
  if (req.method === "GET" || req.method === "HEAD" || !req.readableEnded) return undefined;
  const { body } = req;
  // Somebody read it and kept nothing; waiting for it would never end.
  if (body === undefined) return "";
  if (typeof body === "string") return body;
  // A parser that gives bytes gives them whole.
  if (body instanceof Uint8Array) return new Uint8Array(body);
  return JSON.stringify(body);
}

/** A request as far as it is made here; the rest is made below. */
type Head = Omit<
  Request,
  "signal" | "body" | "bodyUsed" | "clone" | "arrayBuffer" | "blob" | "bytes" | "formData" | "json" | "text"
>;
// A class whose members are declared as properties cannot have accessors in their place.
const HeadRequest = Request as new (url: string, init: RequestInit) => Head;

/**
 * The same, but body and signal are made only for who asks for them: they cost more than all the rest of a request, and
 * a handler of ours reads the body from Node. `new Request(request)`, which no getter sees, has neither.
 */
export class NodeFetchRequest extends HeadRequest implements OwnBody {
  readonly #req: NodeRequest;
  readonly #res: ServerResponse;
  readonly #url: string;
  readonly #parsed: string | Uint8Array<ArrayBuffer> | undefined;
  #controller: AbortController | undefined;
  #whole: Request | undefined;
  #isRead = false;

  constructor(req: NodeRequest, res: ServerResponse, url: string) {
    const { encrypted } = req.socket as { readonly encrypted?: boolean };
    const origin = `${encrypted === true ? "https" : "http"}://${req.headers.host ?? "localhost"}`;
    super(origin + url, { method: req.method ?? "GET", headers: headersOf(req) });
    this.#req = req;
    this.#res = res;
    this.#url = url;
    this.#parsed = parsedBody(req);
    if (this.#parsed !== undefined) describeParsed(this.headers);
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      const controller = (this.#controller = new AbortController());
      const res = this.#res;
      const onClose = (): void => {
        if (!res.writableFinished) controller.abort();
      };
      if (res.destroyed) onClose();
      else res.once("close", onClose);
    }
    return this.#controller.signal;
  }

  get body(): Request["body"] {
    return this.#isRead ? null : this.#withBody().body;
  }

  get bodyUsed(): boolean {
    return this.#isRead || this.#whole?.bodyUsed === true;
  }

  clone(): Request {
    return this.#withBody().clone();
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    return this.#withBody().arrayBuffer();
  }

  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(await this.arrayBuffer());
  }

  async blob(): Promise<Blob> {
    return this.#withBody().blob();
  }

  async formData(): Promise<FormData> {
    // eslint-disable-next-line @typescript-eslint/no-deprecated -- discouraged, not gone
    return this.#withBody().formData();
  }

  async json(): Promise<unknown> {
    return this.#withBody().json();
  }

  async text(): Promise<string> {
    return this.#withBody().text();
  }

  [OWN_BODY](maxBytes: number): Promise<string> | null {
    if (this.#isRead || this.#whole !== undefined) return null;
    this.#isRead = true;
    return this.#parsed === undefined
      ? readBody(this.#req, maxBytes).then(textOf)
      : Promise.resolve(this.#parsed).then((parsed) => textOfParsed(parsed, maxBytes));
  }

  #withBody(): Request {
    if (this.#isRead) throw new TypeError("Body is unusable: it has been read before");
    return (this.#whole ??= toRequest(this.#req, this.#res, this.#url));
  }
}

function headersOf({ headers }: IncomingMessage): Headers {
  const all = new Headers();
  for (const name in headers) {
    const value = headers[name];
    if (value !== undefined) all.append(name, typeof value === "string" ? value : value.join(", "));
  }
  return all;
}

/** @throws {HttpError} `BODY_TOO_LARGE`. @throws {AgentError} `INVALID_INPUT` when the client went away. */
function readBody(req: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (req.destroyed && !req.complete) {
      reject(notText());
      return;
    }
    const chunks: Buffer[] = [];
    let bytes = 0;
    const stop = (): void => {
      req.off("data", onData).off("end", onEnd).off("error", onGone).off("close", onGone);
    };
    const onData = (chunk: Buffer): void => {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes <= maxBytes) return;
      stop();
      reject(new HttpError("BODY_TOO_LARGE"));
    };
    const onEnd = (): void => {
      stop();
      resolve(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks));
    };
    const onGone = (): void => {
      stop();
      // Nobody listens any more, and Node may still tell of the reason.
      req.on("error", () => undefined);
      reject(notText());
    };
    req.on("data", onData).on("end", onEnd).on("error", onGone).on("close", onGone);
  });
}

function textOf(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw notText();
  // A mark at the beginning is no text.
  const start = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  return bytes.toString("utf8", start);
}

function textOfParsed(parsed: string | Uint8Array<ArrayBuffer>, maxBytes: number): string {
  if (Buffer.byteLength(parsed) > maxBytes) throw new HttpError("BODY_TOO_LARGE");
  return typeof parsed === "string" ? parsed : textOf(Buffer.from(parsed.buffer));
}
