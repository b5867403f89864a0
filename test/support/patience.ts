/*
 * Set up before every test file: `vi.waitFor` and `vi.waitUntil` give up after a second by themselves, which is nothing
 * on a busy machine. What is awaited here nearly always comes at once; the limit is for what never comes.
 */
import { vi } from "vitest";

const PATIENCE_MS = 20_000;

const { waitFor, waitUntil } = vi;
vi.waitFor = (callback, options) => waitFor(callback, patient(options));
vi.waitUntil = (callback, options) => waitUntil(callback, patient(options));

function patient(options: number | { timeout?: number; interval?: number } | undefined) {
  return typeof options === "number" ? options : { timeout: PATIENCE_MS, ...options };
}
