import type { NextConfig } from "next";

const config: NextConfig = {
  // Only since this example lies within another project, whose lockfile Next would take for its own.
  turbopack: { root: import.meta.dirname },
};

export default config;
