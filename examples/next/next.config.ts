import type { NextConfig } from "next";

/** For every page; the answers of the route say these things themselves. */
const headers = [
  { key: "x-content-type-options", value: "nosniff" },
  { key: "x-frame-options", value: "DENY" },
  { key: "referrer-policy", value: "same-origin" },
  {
    key: "content-security-policy",
    value: "frame-ancestors 'none'; base-uri 'self'; object-src 'none'; form-action 'self'",
  },
];

const config: NextConfig = {
  // Only since this example lies within another project, whose lockfile Next would take for its own.
  turbopack: { root: import.meta.dirname },
  headers: () => Promise.resolve([{ source: "/:path*", headers }]),
  poweredByHeader: false,
};

export default config;
