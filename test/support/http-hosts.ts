import { createRequire } from "node:module";
import express5 from "express";
import { toExpress } from "../../src/express.js";
import type { HttpHandler } from "../../src/http/index.js";
import { listen, serve } from "./http-service.js";

// Version 4 has no types beside those of 5; what is used here is the same in both.
export const express4 = createRequire(import.meta.url)("express4") as typeof express5;

export interface Host {
  readonly name: string;
  /** Whether clients are tested on it with all that they can; on the others with what a host can get wrong. */
  readonly whole: boolean;
  /** Serves until the test is over; gives the base URL. */
  readonly serve: (handler: HttpHandler) => Promise<string>;
}

function on(express: typeof express5, parses: boolean): Host["serve"] {
  return async (handler) => {
    const app = express();
    if (parses) app.use(express.json(), express.text());
    app.use(toExpress(handler));
    return (await listen(app)) + handler.basePath;
  };
}

/** What clients are tested against. */
export const hosts: readonly Host[] = [
  { name: "Express 5, after body parsers", whole: true, serve: on(express5, true) },
  { name: "Express 5", whole: false, serve: on(express5, false) },
  { name: "Express 4, after body parsers", whole: false, serve: on(express4, true) },
  { name: "Express 4", whole: false, serve: on(express4, false) },
  { name: "node:http", whole: false, serve },
];
