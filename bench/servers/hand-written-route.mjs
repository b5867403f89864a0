/** The stream of one turn of an agent of LangChain, written out by hand. */
export async function stream(agent, { session_id, message }, response) {
  response.writeHead(200, { "content-type": "text/event-stream" });
  const chunks = await agent.stream(
    { messages: [{ role: "user", content: message }] },
    { configurable: { thread_id: session_id }, streamMode: ["messages", "updates"] },
  );
  for await (const [mode, chunk] of chunks) {
    if (mode !== "messages") continue;
    const [token] = chunk;
    if (token.content !== "") response.write(`data: ${JSON.stringify({ delta: token.content })}\n\n`);
  }
  response.end("data: [DONE]\n\n");
}
