import { cookies } from "next/headers";
import { redirect } from "next/navigation";
import { COOKIE, userOfCookie } from "../../../lib/login";
import { logout } from "../../actions";
import { Chat } from "./chat";

export default async function ChatPage({ params }: { readonly params: Promise<{ readonly id: string }> }) {
  const user = userOfCookie((await cookies()).get(COOKIE)?.value);
  if (user === null) redirect("/");
  const { id } = await params;
  return (
    <div className="page">
      <header>
        <span className="avatar">{user.slice(0, 1).toUpperCase()}</span>
        <h1>Shop assistant</h1>
        {/* A plain link: the id of the new chat is made on the server. */}
        <a href="/" className="quiet">
          New chat
        </a>
        <form action={logout}>
          <button className="quiet">Log out</button>
        </form>
      </header>
      <Chat key={id} id={id} />
    </div>
  );
}
