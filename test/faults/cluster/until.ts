import { setTimeout as sleep } from "node:timers/promises";

/** Waits until something is so. The limit is for what never comes, not for what is slow. */
export async function until(check: () => boolean | Promise<boolean>, timeoutMs = 60_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await check())) {
    if (performance.now() > deadline) throw new Error(`It did not come about: ${check.toString()}`);
    await sleep(10);
  }
}
