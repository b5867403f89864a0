/** Processes that are children of this one. See ../servers for what they can do. */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";

export class Member {
  #child;
  #messages = [];
  #look = () => {};
  #ended = false;

  static async start(options, program = "durable") {
    const member = new Member();
    const script = fileURLToPath(new URL(`../servers/${program}.mjs`, import.meta.url));
    const child = fork(script, [JSON.stringify(options)], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
    member.#child = child;
    child.on("message", (message) => {
      member.#messages.push(message);
      member.#look();
    });
    child.on("exit", () => {
      member.#ended = true;
      member.#look();
    });
    await member.heard("ready");
    return member;
  }

  /** What a fresh process has `measured`, which ends with that. */
  static async ask(program, options) {
    const member = await Member.start(options, program);
    try {
      return await member.heard("measured");
    } finally {
      await member.kill();
    }
  }

  tell(type, rest = {}) {
    this.#child.send({ type, ...rest });
  }

  /** Waits for `count` messages of this kind in all, and gives the last. */
  heard(kind, count = 1) {
    return new Promise((resolve, reject) => {
      this.#look = () => {
        const found = this.#messages.filter((message) => kind in message);
        if (found.length >= count) resolve(found.at(-1));
        else if (this.#ended) reject(new Error(`A process ended before it said \`${kind}\``));
      };
      this.#look();
    });
  }

  /** Ends it at once, as `kill -9` does. */
  kill() {
    return new Promise((resolve) => {
      if (this.#ended) resolve();
      this.#child.once("exit", resolve);
      this.#child.kill("SIGKILL");
    });
  }
}
