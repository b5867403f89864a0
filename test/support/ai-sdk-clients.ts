import { Chat as Chat3 } from "ai-sdk-react3";
import { Chat as Chat4 } from "ai-sdk-react4";
import {
  DefaultChatTransport as Transport6,
  lastAssistantMessageIsCompleteWithApprovalResponses as complete6,
} from "ai6";
import {
  DefaultChatTransport as Transport7,
  lastAssistantMessageIsCompleteWithApprovalResponses as complete7,
} from "ai7";
import { bearer } from "./http-service.js";

export interface Part {
  readonly type: string;
  readonly text?: string;
  readonly state?: string;
  readonly toolCallId?: string;
  readonly output?: unknown;
  readonly errorText?: string;
  readonly approval?: { readonly id: string };
}
export interface Message {
  readonly id: string;
  readonly role: string;
  readonly parts: readonly Part[];
  readonly metadata?: unknown;
}
/** What both versions of the client have in common; their types differ in details that no test needs. */
export interface Client {
  messages: Message[];
  readonly status: string;
  readonly error: Error | undefined;
  sendMessage(message?: { text: string; messageId?: string }): Promise<void>;
  regenerate(): Promise<void>;
  resumeStream(): Promise<void>;
  stop(): Promise<void>;
  addToolApprovalResponse(response: { id: string; approved: boolean; reason?: string }): unknown;
}

export interface ClientOptions {
  readonly messages?: Message[];
  /** Whether answers to approvals go back by themselves. */
  readonly auto?: boolean;
  readonly fetch?: typeof fetch;
}

export type MakeClient = (api: string, id: string, options?: ClientOptions) => Client;

export const aiSdkClients: [string, MakeClient][] = [
  [
    "ai 6",
    (api, id, { messages = [], auto = false, fetch: via = fetch } = {}) =>
      new Chat3({
        id,
        messages: messages as never,
        transport: new Transport6({ api, headers: bearer("ann"), fetch: via }),
        ...(auto ? { sendAutomaticallyWhen: complete6 } : {}),
      }),
  ],
  [
    "ai 7",
    (api, id, { messages = [], auto = false, fetch: via = fetch } = {}) =>
      new Chat4({
        id,
        messages: messages as never,
        transport: new Transport7({ api, headers: bearer("ann"), fetch: via }),
        ...(auto ? { sendAutomaticallyWhen: complete7 } : {}),
      }),
  ],
];

/** What the hooks of React do when a page comes to the front; its types keep it to themselves. */
export async function comeToFront(client: Client): Promise<void> {
  await (client as Client & { "~resumeStreamIfDisconnected"(): Promise<void> })[
    "~resumeStreamIfDisconnected"
  ]();
}

/** The texts of a message, with a bar between them. */
export function textOf(message: Message | undefined): string {
  return (message?.parts ?? []).map((part) => (part.type === "text" ? (part.text ?? "") : "")).join("|");
}

/** The first tool call of a message. */
export function toolOf(message: Message | undefined): Part | undefined {
  return message?.parts.find((part) => part.type === "dynamic-tool");
}
