import { randomUUID } from "node:crypto";
import { cookies } from "next/headers";
import { redirect } from "next/navigation";
import { COOKIE, userOfCookie } from "../lib/login";
import { login } from "./actions";

export default async function Home() {
  const user = userOfCookie((await cookies()).get(COOKIE)?.value);
  if (user !== null) redirect(`/chat/${randomUUID()}`);
  return (
    <main className="login">
      <h1>Shop assistant</h1>
      <p>One agent for each of your chats. Who are you?</p>
      <form action={login}>
        <button name="name" value="ada">
          <span className="avatar">A</span> Ada
        </button>
        <button name="name" value="ben">
          <span className="avatar">B</span> Ben
        </button>
      </form>
      <p className="hint">A demo: no password. Each sees only what is their own.</p>
    </main>
  );
}
