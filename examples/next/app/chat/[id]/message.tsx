import { isToolUIPart, getToolName, type UIMessage } from "ai";

type Part = UIMessage["parts"][number];
type ToolPart = Extract<Part, { toolCallId: string }>;
type OnAnswer = (answer: { id: string; approved: boolean }) => void;

interface MessageProps {
  readonly message: UIMessage;
  /** Whether more of it is coming. */
  readonly live: boolean;
  readonly onAnswer: OnAnswer;
}

export function Message({ message, live, onAnswer }: MessageProps) {
  const { outcome } = (message.metadata ?? {}) as { readonly outcome?: string };
  return (
    <article className={`message ${message.role}${live ? " live" : ""}`}>
      {message.parts.map((part, index) => {
        if (part.type === "text") return part.text !== "" && <p key={index}>{part.text}</p>;
        if (part.type === "reasoning") {
          return (
            <details key={index}>
              <summary>Thoughts</summary>
              {part.text}
            </details>
          );
        }
        if (isToolUIPart(part)) {
          return <Tool key={part.toolCallId} part={part} waiting={live} onAnswer={onAnswer} />;
        }
        return null;
      })}
      {outcome === "cancelled" && <small>Stopped.</small>}
    </article>
  );
}

interface ToolProps {
  readonly part: ToolPart;
  /** An answer that is given while the message is being replayed (after a reload) would be lost in it. */
  readonly waiting: boolean;
  readonly onAnswer: OnAnswer;
}

function Tool({ part, waiting, onAnswer }: ToolProps) {
  const name = getToolName(part).replaceAll("_", " ");
  return (
    <section className="tool" data-state={part.state}>
      <h2>
        {name} <code>{part.input === undefined ? "" : JSON.stringify(part.input)}</code>
      </h2>
      {part.state === "approval-requested" ? (
        <div className="approval">
          <span>Is that all right?</span>
          <button
            disabled={waiting}
            onClick={() => {
              onAnswer({ id: part.approval.id, approved: true });
            }}
          >
            Approve
          </button>
          <button
            className="reject"
            disabled={waiting}
            onClick={() => {
              onAnswer({ id: part.approval.id, approved: false });
            }}
          >
            Reject
          </button>
        </div>
      ) : (
        <p>{resultOf(part)}</p>
      )}
    </section>
  );
}

function resultOf(part: ToolPart): string {
  switch (part.state) {
    case "output-available":
      return String(part.output);
    case "output-error":
      return part.errorText;
    case "output-denied":
      return "You said no.";
    default:
      return "…";
  }
}
