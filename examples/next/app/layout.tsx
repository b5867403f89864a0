import type { Metadata, Viewport } from "next";
import type { ReactNode } from "react";
import "./globals.css";

export const metadata: Metadata = { title: "Shop assistant · agent-sessions" };
// The keyboard of a phone pushes the input up instead of covering it.
export const viewport: Viewport = { interactiveWidget: "resizes-content" };

export default function Layout({ children }: { readonly children: ReactNode }) {
  return (
    <html lang="en">
      <body>{children}</body>
    </html>
  );
}
