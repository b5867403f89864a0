import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { copyJson, estimateBytes, mergeJson } from "../../src/internal/json-value.js";

describe("plain JSON values", () => {
  it("are copied whole and deep, whatever their keys", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const before = JSON.stringify(value);
        const copy = copyJson(value);
        expect(JSON.stringify(copy)).toBe(before);
        if (typeof value === "object" && value !== null) expect(copy).not.toBe(value);
      }),
    );
    const odd = JSON.parse('{"__proto__": {"a": 1}, "constructor": 2}') as Record<string, unknown>;
    expect(Object.entries(copyJson(odd))).toEqual(Object.entries(odd));
    expect(Object.getPrototypeOf(copyJson(odd))).toBe(Object.prototype);
  });

  it("are laid over each other without their undefined properties", () => {
    const odd = JSON.parse('{"__proto__": 3}') as Record<string, number>;
    const merged = mergeJson({ a: 1, b: 1 }, undefined, { b: 2, a: undefined }, odd);
    expect(Object.entries(merged)).toEqual([
      ["a", 1],
      ["b", 2],
      ["__proto__", 3],
    ]);
  });

  it("are estimated with every string in them, however deep", () => {
    const text = "x".repeat(1000);
    expect(estimateBytes(text)).toBeGreaterThanOrEqual(2000);
    expect(estimateBytes([{ a: { b: [text, text] } }])).toBeGreaterThanOrEqual(4000);
  });
});
