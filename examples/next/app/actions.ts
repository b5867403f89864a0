"use server";

import { cookies } from "next/headers";
import { redirect } from "next/navigation";
import { COOKIE, toCookie } from "../lib/login";

export async function login(form: FormData): Promise<void> {
  const name = form.get("name");
  if (typeof name !== "string" || !/^\w{1,20}$/.test(name)) return;
  (await cookies()).set(COOKIE, toCookie(name), { httpOnly: true, sameSite: "lax", path: "/" });
  redirect("/");
}

export async function logout(): Promise<void> {
  (await cookies()).delete(COOKIE);
  redirect("/");
}
