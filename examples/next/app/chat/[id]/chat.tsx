"use client";

import { useChat } from "@ai-sdk/react";
import {
  DefaultChatTransport,
  lastAssistantMessageIsCompleteWithApprovalResponses,
  type UIMessage,
} from "ai";
import { useEffect, useRef, useState, type FormEvent } from "react";
import { Message } from "./message";

const API = "/agent_backend/chat";
const SUGGESTIONS = ["Where is my order?", "Refund me 30 euros", "Tell me a story"];

/** Loads what was said before, then shows it. */
export function Chat({ id }: { readonly id: string }) {
  const [history, setHistory] = useState<UIMessage[]>();
  const [problem, setProblem] = useState<string>();
  useEffect(() => {
    const controller = new AbortController();
    loadHistory(id, controller.signal).then(setHistory, (error: unknown) => {
      if (!controller.signal.aborted) setProblem(String(error));
    });
    return () => {
      controller.abort();
    };
  }, [id]);
  if (problem !== undefined) return <p className="problem">{problem}</p>;
  return history === undefined ? <p className="hint">…</p> : <Conversation id={id} history={history} />;
}

async function loadHistory(id: string, signal: AbortSignal): Promise<UIMessage[]> {
  const response = await fetch(`${API}/${id}/messages?format=ai-sdk`, { signal });
  // A chat begins with its first message; until then there is none.
  if (response.status === 404) return [];
  if (!response.ok) throw new Error(`The history could not be loaded (${String(response.status)}).`);
  const { messages } = (await response.json()) as { messages: UIMessage[] };
  return messages;
}

// Answers are read from POST /agent_backend/chat, and taken up again from GET /agent_backend/chat/{id}/stream.
const transport = new DefaultChatTransport({
  api: API,
  // The server keeps the conversation: the last message is all that it needs.
  prepareSendMessagesRequest: ({ id, messages, trigger, messageId }) => ({
    body: { id, messages: messages.slice(-1), trigger, messageId },
  }),
});

function Conversation({ id, history }: { readonly id: string; readonly history: UIMessage[] }) {
  const { messages, status, error, sendMessage, addToolApprovalResponse, stop } = useChat({
    id,
    messages: history,
    transport,
    // An answer that was under way when the page was left goes on here.
    resume: true,
    // When the user has answered all that was asked, the run goes on.
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
  });
  const [text, setText] = useState("");
  const end = useRef<HTMLDivElement>(null);
  const busy = status === "submitted" || status === "streaming";
  useEffect(() => {
    end.current?.scrollIntoView({ block: "end" });
  }, [messages, status, error]);

  const send = (message: string) => {
    setText("");
    void sendMessage({ text: message });
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (text.trim() !== "" && !busy) send(text);
  };
  // Leaving the stream stops nothing, so that a reload can take it up again; the server has to be told.
  const stopRun = async () => {
    const response = await fetch(`${API}/${id}/stop`, { method: "POST" }).catch(() => undefined);
    if (response?.ok !== true) await stop();
  };

  return (
    <>
      <main className="messages" aria-live="polite">
        {messages.length === 0 && (
          <div className="empty">
            <p>What can I do for you?</p>
            {SUGGESTIONS.map((suggestion) => (
              <button
                key={suggestion}
                onClick={() => {
                  send(suggestion);
                }}
              >
                {suggestion}
              </button>
            ))}
          </div>
        )}
        {messages.map((message, index) => (
          <Message
            key={message.id}
            message={message}
            live={busy && index === messages.length - 1}
            onAnswer={(answer) => void addToolApprovalResponse(answer)}
          />
        ))}
        {status === "submitted" && messages.at(-1)?.role !== "assistant" && <p className="waiting">…</p>}
        {error !== undefined && <p className="problem">{error.message}</p>}
        <div ref={end} />
      </main>
      <form className="input" onSubmit={submit}>
        <input
          value={text}
          onChange={(event) => {
            setText(event.target.value);
          }}
          placeholder="Message"
          aria-label="Message"
          autoComplete="off"
          enterKeyHint="send"
        />
        {busy ? (
          <button type="button" className="stop" onClick={() => void stopRun()}>
            Stop
          </button>
        ) : (
          <button disabled={text.trim() === ""}>Send</button>
        )}
      </form>
    </>
  );
}
