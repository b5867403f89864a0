import type { Store } from "../../../src/store/store.js";

/** Makes a store that breaks a rule of one that keeps all. */
export type Break = (store: Store) => Store;

type Part = "runs" | "sessions" | "checkpointer" | "events" | "processes";
type PartOf<P extends Part> = NonNullable<Store[P]>;

/** Replaces some methods of one part; all else is the part's own. */
export function breaking<P extends Part>(
  part: P,
  change: (inner: PartOf<P>, store: Store) => Partial<PartOf<P>>,
): Break {
  return (store) => {
    const inner = store[part] as PartOf<P>;
    const changed = change(inner, store) as Record<PropertyKey, unknown>;
    const broken = new Proxy(inner, {
      get(target, key) {
        if (Object.hasOwn(changed, key)) return changed[key];
        const value: unknown = Reflect.get(target, key, target);
        return typeof value === "function" ? (value.bind(target) as unknown) : value;
      },
    });
    return { ...store, [part]: broken };
  };
}

/** A refusal with one of these codes is swallowed, and `instead` given. */
export function swallowing<F extends (...args: never[]) => Promise<unknown>>(
  method: F,
  codes: readonly string[],
  instead: (...args: Parameters<NoInfer<F>>) => Awaited<ReturnType<NoInfer<F>>> | ReturnType<NoInfer<F>>,
): F {
  const swallow = async (...args: Parameters<F>): Promise<unknown> => {
    try {
      return await method(...args);
    } catch (error) {
      if (codes.includes((error as { readonly code?: string }).code ?? "")) return instead(...args);
      throw error;
    }
  };
  // It takes and gives what the method does.
  return swallow as unknown as F;
}

/** A JSON text as it comes out of a column that takes neither NUL nor characters of two units. */
export function mangled(json: string): string {
  return json
    .replaceAll("\\u0000", "")
    .replace(/[\ud800-\udfff]/g, "?")
    .replace(/\\ud[89a-f]../g, "?");
}
