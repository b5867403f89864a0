import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { getOrCreate } from "agent-sessions/next";

/*
 * A demo login: anyone may be anyone, without a password. What is as it should be in a real one: the server signs
 * the cookie, so that nobody can make one up, and no script of the page can read it.
 */
export const COOKIE = "demo_user";

const secret = (): string =>
  process.env["COOKIE_SECRET"] ?? getOrCreate("cookie-secret", () => randomBytes(32).toString("hex"));

const sign = (name: string): Buffer => createHmac("sha256", secret()).update(name).digest();

export function toCookie(name: string): string {
  return `${encodeURIComponent(name)}.${sign(name).toString("base64url")}`;
}

/** The user whom a cookie's value names, or null if the server did not make it. */
export function userOfCookie(value: string | undefined): string | null {
  const [encoded = "", signature = ""] = (value ?? "").split(".");
  let name: string;
  try {
    name = decodeURIComponent(encoded);
  } catch {
    return null;
  }
  const given = Buffer.from(signature, "base64url");
  const wanted = sign(name);
  return name !== "" && given.length === wanted.length && timingSafeEqual(given, wanted) ? name : null;
}

export function userOfRequest(request: Request): string | null {
  const cookies = (request.headers.get("cookie") ?? "").split(/; */);
  return userOfCookie(cookies.find((cookie) => cookie.startsWith(`${COOKIE}=`))?.slice(COOKIE.length + 1));
}
