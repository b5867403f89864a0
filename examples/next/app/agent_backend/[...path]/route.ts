import { after } from "next/server";
import { createHttpHandler } from "agent-sessions/http";
import { toNextHandlers } from "agent-sessions/next";
import { shared } from "../../../lib/chat";
import { userOfRequest } from "../../../lib/login";

/** How long a host of functions lets an answer take, in seconds. `next start` knows no such limit. */
export const maxDuration = 300;

export const { GET, POST, DELETE } = toNextHandlers(
  async () => {
    const { chat } = await shared();
    return createHttpHandler(chat, {
      authenticate: (request) => {
        const userId = userOfRequest(request);
        return userId === null ? null : { userId };
      },
      context: (_request, user) => ({ userId: user?.userId ?? "" }),
    });
  },
  // The answer goes on when its reader has left. A host of functions must be told to wait for it.
  { waitUntil: after },
);
