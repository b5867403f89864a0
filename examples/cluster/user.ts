import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { RunEvent } from "agent-sessions";

/** What one user saw of one answer. */
export interface Seen {
  readonly text: string;
  readonly outcome: string;
  /** How often the stream broke and was taken up again. */
  readonly reconnects: number;
  /** How often another process took the run over. */
  readonly takeovers: number;
  /** From the break of the stream to the news that the run goes on, in milliseconds. */
  readonly resumedAfterMs: number | undefined;
  /** The processes that served the stream, in order. */
  readonly servedBy: readonly string[];
  /** Events that were missing or came twice. */
  readonly gaps: number;
}

/** A user of the cluster, with a plain HTTP client: nothing here knows of processes. */
export class User {
  readonly name: string;
  readonly sessionId = randomUUID();
  readonly #origin: string;
  /** Characters of the answer under way. */
  received = 0;

  constructor(name: string, origin: string) {
    this.name = name;
    this.#origin = origin;
  }

  /** Asks, and reads the answer to its end over as many connections as it takes. */
  async ask(message: string): Promise<Seen> {
    const answer = new Answer();
    const runId = randomUUID();
    this.received = 0;
    for (;;) {
      try {
        const response = await this.#connect(message, runId, answer.lastId);
        if (response.ok && response.body !== null) {
          answer.servedBy.push(response.headers.get("x-served-by") ?? "");
          for await (const frame of frames(response.body)) {
            answer.take(frame);
            this.received = answer.text.length;
          }
        } else {
          await response.body?.cancel();
          if (response.status < 500) throw new TypeError(`The answer was ${String(response.status)}`);
        }
      } catch (error) {
        // fetch says with a TypeError of that name that the connection broke.
        if (!isBroken(error)) throw error;
      }
      if (answer.outcome !== undefined) return answer.seen();
      answer.broken();
      await sleep(100);
    }
  }

  /** The session's messages, as any process knows them. */
  async history(): Promise<{ readonly role: string; readonly content: unknown }[]> {
    const response = await fetch(`${this.#url}/messages`, { headers: this.#headers });
    // The route's JSON is described in docs/http-reference.md.
    return ((await response.json()) as { messages: { role: string; content: unknown }[] }).messages;
  }

  get #url(): string {
    return `${this.#origin}/agent_backend/chat/${this.sessionId}`;
  }

  get #headers(): Record<string, string> {
    return { cookie: `demo-user=${this.name}` };
  }

  #connect(message: string, runId: string, lastId: string | undefined): Promise<Response> {
    if (lastId !== undefined) {
      const headers = { ...this.#headers, "last-event-id": lastId };
      return fetch(`${this.#url}/stream?format=events`, { headers });
    }
    // The same run id again is the same run: asking twice does no harm.
    return fetch(`${this.#origin}/agent_backend/chat?format=events`, {
      method: "POST",
      headers: { ...this.#headers, "content-type": "application/json" },
      body: JSON.stringify({ session_id: this.sessionId, message, run_id: runId }),
    });
  }
}

/** An answer as it comes together from events. */
class Answer {
  text = "";
  outcome: string | undefined;
  lastId: string | undefined;
  readonly servedBy: string[] = [];
  #seq = 0;
  /** Where the text of the step under way began. */
  #stepStart = 0;
  #gaps = 0;
  #reconnects = 0;
  #takeovers = 0;
  #brokenAt: number | undefined;
  #resumedAfterMs: number | undefined;

  take({ id, data }: Frame): void {
    // Frames of the neutral stream hold one event each; one that is no event of the run says why the stream ends here.
    const event = JSON.parse(data) as RunEvent | { readonly type: "stream-error" };
    if (event.type === "stream-error") return;
    if (id !== undefined) this.lastId = id;
    if (event.seq !== this.#seq + 1) this.#gaps += 1;
    this.#seq = event.seq;
    if (event.type === "step-started") this.#stepStart = this.text.length;
    else if (event.type === "text-delta") this.text += event.delta;
    else if (event.type === "run-finished") this.outcome = event.outcome;
    else if (event.type === "run-resumed") {
      // The step that was cut off begins again: what it had shown goes.
      this.text = this.text.slice(0, this.#stepStart);
      this.#takeovers += 1;
      if (this.#brokenAt !== undefined) this.#resumedAfterMs ??= performance.now() - this.#brokenAt;
    }
  }

  broken(): void {
    this.#reconnects += 1;
    this.#brokenAt ??= performance.now();
  }

  seen(): Seen {
    return {
      text: this.text,
      outcome: this.outcome ?? "none",
      reconnects: this.#reconnects,
      takeovers: this.#takeovers,
      resumedAfterMs: this.#resumedAfterMs,
      servedBy: this.servedBy,
      gaps: this.#gaps,
    };
  }
}

interface Frame {
  readonly id: string | undefined;
  readonly data: string;
}

/** The frames of an event stream; one that was cut off in the middle is none. */
async function* frames(body: ReadableStream<Uint8Array>): AsyncGenerator<Frame> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of body) {
    text += decoder.decode(chunk, { stream: true });
    const parts = text.split("\n\n");
    text = parts.pop() ?? "";
    for (const part of parts) {
      const lines = part.split("\n");
      const field = (name: string) => lines.find((line) => line.startsWith(name))?.slice(name.length);
      const data = field("data: ");
      if (data !== undefined) yield { id: field("id: "), data };
    }
  }
}

function isBroken(error: unknown): boolean {
  return error instanceof TypeError && /fetch failed|terminated|closed/.test(error.message);
}
