import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";

/*
 * A DEMO: anybody may sign in under any name, without a password, and "admin" is the admin. What follows after that
 * is real: a token signed by the server, in a cookie or a header, is all that says who makes a request.
 */

export interface DemoUser {
  readonly userId: string;
  readonly isAdmin: boolean;
}

const LIFETIME_MS = 12 * 60 * 60 * 1000;
const COOKIE = "demo_token";

export class DemoLogin {
  /** New with each start: tokens of an earlier process are worth nothing. */
  readonly #secret = randomBytes(32);

  /** A token for whoever asks for it; undefined for a name that is none. */
  signIn(name: unknown): { readonly userId: string; readonly token: string } | undefined {
    if (typeof name !== "string") return undefined;
    const userId = name.trim().toLowerCase();
    if (!/^[a-z][a-z0-9-]{0,19}$/.test(userId)) return undefined;
    const claims = Buffer.from(JSON.stringify({ userId, expires: Date.now() + LIFETIME_MS })).toString(
      "base64url",
    );
    return { userId, token: `${claims}.${this.#sign(claims)}` };
  }

  /** The cookie for sites with one user per browser. Scripts cannot read it, and other sites cannot use it. */
  cookieOf(token: string): string {
    return `${COOKIE}=${token}; Path=/; HttpOnly; SameSite=Lax; Max-Age=${String(LIFETIME_MS / 1000)}`;
  }

  /** For `authenticate`: the header if there is one, else the cookie. */
  userOf(request: Request): DemoUser | null {
    const authorization = request.headers.get("authorization");
    const token =
      authorization === null
        ? new RegExp(`(?:^|; *)${COOKIE}=([^;]+)`).exec(request.headers.get("cookie") ?? "")?.[1]
        : /^Bearer (.+)$/.exec(authorization)?.[1];
    const [claims = "", signature = ""] = token?.split(".") ?? [];
    const given = Buffer.from(signature);
    const expected = Buffer.from(this.#sign(claims));
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return null;
    // We have signed it, so it is of this form.
    const { userId, expires } = JSON.parse(Buffer.from(claims, "base64url").toString()) as {
      userId: string;
      expires: number;
    };
    return expires < Date.now() ? null : { userId, isAdmin: userId === "admin" };
  }

  #sign(claims: string): string {
    return createHmac("sha256", this.#secret).update(claims).digest("base64url");
  }
}
