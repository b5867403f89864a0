/** What an example shows is also checked: each check is printed, and a failed one makes the example fail. */
export class Checks {
  #held = 0;
  #failed = 0;
  readonly #print: (line: string) => void;
  readonly #paint: (text: string, colour: "green" | "red") => string;

  constructor(
    options: {
      readonly print?: (line: string) => void;
      readonly paint?: (text: string, colour: "green" | "red") => string;
    } = {},
  ) {
    this.#print = options.print ?? console.log;
    this.#paint = options.paint ?? ((text) => text);
  }

  /** Prints whether `holds`; if it does not, also `found`, which says what was there instead. */
  that(claim: string, holds: boolean, found?: string): void {
    if (holds) {
      this.#held += 1;
      this.#print(`  ${this.#paint("✓", "green")} ${claim}`);
      return;
    }
    this.#failed += 1;
    this.#print(`  ${this.#paint("✗", "red")} NOT SO: ${claim}`);
    if (found !== undefined) this.#print(`    found: ${found}`);
  }

  /** Prints the sum and gives the exit code: 0 if there were checks and all held. */
  finish(): 0 | 1 {
    const all = this.#held + this.#failed;
    const good = all > 0 && this.#failed === 0;
    this.#print(
      good
        ? this.#paint(`All ${String(all)} checks hold.`, "green")
        : this.#paint(
            all === 0 ? "Nothing was checked." : `${String(this.#failed)} of ${String(all)} checks failed.`,
            "red",
          ),
    );
    return good ? 0 : 1;
  }
}

/**
 * Runs an example to its end and exits: 0 when all its checks held, else 1. An error is told in one line, with its
 * code if it has one; an example that hangs is given up after `limitMs`.
 */
export async function runExample(
  checks: Checks,
  example: () => Promise<void>,
  limitMs = 55_000,
): Promise<never> {
  const timer = setTimeout(() => {
    console.error(`\nGiven up: it did not end within ${String(limitMs / 1000)} seconds.`);
    process.exit(1);
  }, limitMs);
  let broken = false;
  try {
    await example();
  } catch (error) {
    broken = true;
    console.error(`\nStopped: ${describe(error)}`);
  }
  clearTimeout(timer);
  console.log("");
  const code = checks.finish();
  if (broken) console.log("It did not get to its end: see above.");
  process.exit(broken ? 1 : code);
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = "code" in error && typeof error.code === "string" ? `${error.code}: ` : "";
  const cause = error.cause instanceof Error ? ` (${error.cause.message.split("\n", 1)[0] ?? ""})` : "";
  return `${code}${error.message}${cause}`;
}
