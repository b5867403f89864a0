import fc from "fast-check";
import { expect, it } from "vitest";
import { IndexedHeap } from "../../src/internal/indexed-heap.js";

it("gives its items in order, whatever was added, moved and taken out of the middle", () => {
  const step = fc.record({
    type: fc.constantFrom("add" as const, "add" as const, "move" as const, "remove" as const),
    at: fc.nat(),
    key: fc.nat({ max: 1000 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200, size: "max" }), (steps) => {
      const heap = new IndexedHeap<{ position: number; key: number }>((a, b) => a.key < b.key);
      let items: { position: number; key: number }[] = [];
      for (const { type, at, key } of steps) {
        const item = items[at % Math.max(1, items.length)];
        if (type === "add") {
          const added = { position: -1, key };
          items.push(added);
          heap.add(added);
        } else if (item !== undefined && type === "move") {
          item.key = key;
          heap.update(item);
        } else if (item !== undefined) {
          items = items.filter((other) => other !== item);
          heap.remove(item);
          heap.remove(item);
          expect(heap.has(item)).toBe(false);
        }
        expect(heap.size).toBe(items.length);
      }
      const order: number[] = [];
      for (let next = heap.peek(); next !== undefined; next = heap.peek()) {
        order.push(next.key);
        heap.remove(next);
      }
      expect(order).toEqual(items.map((item) => item.key).sort((a, b) => a - b));
    }),
    { numRuns: 300 },
  );
});
