/** assistant-ui's AI SDK runtime as a page has it, without the page: what its buttons do, and what it would show. */
import { AISDKChat, AssistantChatTransport } from "@assistant-ui/react-ai-sdk";
import { AuiConfig, createAssistantClient } from "@assistant-ui/store/client";
import { flushTapSync } from "@assistant-ui/tap";
import { lastAssistantMessageIsCompleteWithApprovalResponses } from "ai";

/**
 * @param {object} options
 * @param {string} options.api
 * @param {Record<string, string>} options.headers
 * @param {string} options.id
 * @param {object[]} [options.messages] of the history
 * @param {typeof fetch} [options.fetch]
 */
export function openThread({ api, headers, id, messages = [], fetch }) {
  const transport = new AssistantChatTransport({
    api,
    headers,
    ...(fetch !== undefined && { fetch }),
    // These three as docs/front-ends.md has them.
    prepareSendMessagesRequest: ({ messages, trigger }) => ({
      body: { id, messages: messages.slice(-1), trigger, messageId: messages.at(-1)?.id },
    }),
    resumable: {
      storage: { getStreamId: () => id, setStreamId: () => {}, clear: () => {} },
      resumeApi: `${api}/${encodeURIComponent(id)}/stream`,
    },
  });
  const handle = createAssistantClient(
    AuiConfig({
      threads: AISDKChat({
        id,
        messages,
        transport,
        toCreateMessage: ({ sourceId, role, content }) => ({
          ...(sourceId !== null && { id: sourceId }),
          role,
          parts: content.filter(({ type }) => type === "text"),
        }),
        sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
      }),
    }),
  );
  handle.subscribe(() => {});
  const client = handle.getClient();
  return {
    /** The thread's messages and whether a run is under way. */
    state: () => client.thread.getState(),
    send(text) {
      flushTapSync(() => client.composer.setText(text));
      flushTapSync(() => client.composer.send());
    },
    stop() {
      flushTapSync(() => client.thread.cancelRun());
    },
    answer(index, toolCallId, response) {
      flushTapSync(() =>
        client.thread.message({ index }).part({ toolCallId }).respondToToolApproval(response),
      );
    },
    edit(index, text) {
      const composer = client.thread.message({ index }).composer();
      flushTapSync(() => composer.beginEdit());
      flushTapSync(() => composer.setText(text));
      flushTapSync(() => composer.send());
    },
    reload(index) {
      flushTapSync(() => client.thread.message({ index }).reload());
    },
    close: () => handle.destroy(),
  };
}
