/** What the server refused, in words that a user may read. `status` is 0 when it could not be reached. */
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const BASE = "/agent_backend";

/** The routes of the agents, for one user: every request carries that user's token. */
export class Api {
  constructor(token) {
    this.token = token;
  }

  /** Starts a run and gives the stream of its events. The same `run_id` again starts nothing new. */
  chat(body, signal) {
    return this.#send("POST", "/chat?format=events", body, signal);
  }

  /** Answers what a run asked; the stream is that of the run which goes on. */
  resume(sessionId, body, signal) {
    return this.#send("POST", `/chat/${encodeURIComponent(sessionId)}/resume?format=events`, body, signal);
  }

  /** The events of a run, from its beginning or after the event that was seen last. */
  follow(sessionId, runId, lastEventId, signal) {
    const path = `/chat/${encodeURIComponent(sessionId)}/stream?format=events&run_id=${encodeURIComponent(runId)}`;
    return this.#send("GET", path, undefined, signal, lastEventId && { "last-event-id": lastEventId });
  }

  async stop(sessionId, runId) {
    await this.#send("POST", `/chat/${encodeURIComponent(sessionId)}/stop`, { run_id: runId });
  }

  /** The conversation; undefined for a session that has not begun. */
  async history(sessionId, signal) {
    try {
      return await this.#json(
        "GET",
        `/chat/${encodeURIComponent(sessionId)}/messages?limit=1000`,
        undefined,
        signal,
      );
    } catch (error) {
      if (error.code === "SESSION_NOT_FOUND") return undefined;
      throw error;
    }
  }

  async sessions() {
    return (await this.#json("GET", "/sessions")).sessions;
  }

  deleteSession(sessionId) {
    return this.#json("DELETE", `/sessions/${encodeURIComponent(sessionId)}`);
  }

  // Admin

  stats() {
    return this.#json("GET", "/agent-stats");
  }

  async allSessions() {
    return (await this.#json("GET", "/agent-sessions?limit=100")).sessions;
  }

  removeAgent(sessionId, userId) {
    const path = `/agent-sessions/${encodeURIComponent(sessionId)}?user_id=${encodeURIComponent(userId)}`;
    return this.#json("DELETE", path);
  }

  cleanup() {
    return this.#json("POST", "/agent-cleanup");
  }

  /** Also when the service is not ready, which is a 503 with the same JSON. */
  async health() {
    const response = await fetch(`${BASE}/agent-health`, { headers: this.#headers() });
    return response.json();
  }

  async #json(...request) {
    return (await this.#send(...request)).json();
  }

  #headers() {
    return { authorization: `Bearer ${this.token}` };
  }

  #send(method, path, body, signal, headers) {
    return send(`${BASE}${path}`, {
      method,
      signal,
      headers: { ...this.#headers(), ...(body && { "content-type": "application/json" }), ...headers },
      body: body && JSON.stringify(body),
    });
  }
}

async function send(url, request) {
  let response;
  try {
    response = await fetch(url, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "UNREACHABLE", "The server cannot be reached.");
  }
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  throw new ApiError(
    response.status,
    error?.code,
    error?.message ?? `The server answered ${response.status}.`,
  );
}

/** @returns {Promise<{ userId: string, token: string }>} */
export async function signIn(name) {
  const response = await send("/demo/login", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name }),
  });
  return response.json();
}

export async function loadModels() {
  return (await (await send("/demo/models", {})).json()).models;
}

/**
 * Reads a stream of events: `{ id, event }` for each. EventSource could do that too, but sends no headers. Lines end
 * with a plain line feed and each event has one line of data, as the server writes them; comments are skipped.
 */
export async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      const frames = text.split("\n\n");
      text = frames.pop();
      for (const frame of frames) {
        const lines = frame.split("\n");
        const field = (name) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
        const data = field("data");
        if (data !== undefined) yield { id: field("id"), event: JSON.parse(data) };
      }
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
