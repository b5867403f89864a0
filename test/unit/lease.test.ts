import { expect, test } from "vitest";
import { LeaseKeeper } from "../../src/runs/lease.js";
import { MemoryRunLedger } from "../../src/store/memory/run-ledger.js";
import type { Lease, Renewal, RunLedger } from "../../src/store/store.js";
import { ManualClock } from "../../src/testing/index.js";

const lease: Lease = { threadId: "s.a", epoch: 1, owner: "p:1" };

/** A shared ledger of which only `renew` is asked. */
function shared(renew: RunLedger["renew"]): RunLedger {
  return Object.assign(Object.create(new MemoryRunLedger()) as RunLedger, { shared: true, renew });
}

function keep(renew: RunLedger["renew"]) {
  const clock = new ManualClock();
  const told: string[] = [];
  const keeper = new LeaseKeeper(shared(renew), 1_000, clock);
  const stop = keeper.keep(lease, clock.monotonic(), {
    lost: (error) => told.push(error.code),
    cancelRequested: (reason) => told.push(reason),
  });
  return { clock, told, keeper, stop };
}

const held = (leases: readonly Lease[], more: Partial<Renewal> = {}): Promise<readonly Renewal[]> =>
  Promise.resolve(leases.map((one) => ({ lease: one, held: true, ...more })));

test("a lease that is renewed lasts, and one that is let go asks for nothing more", async () => {
  let renewals = 0;
  const { clock, told, stop } = keep((leases) => {
    renewals += 1;
    return held(leases);
  });
  await clock.advance(10_000);
  expect(told).toEqual([]);
  expect(renewals).toBeGreaterThanOrEqual(20);
  stop();
  const before = renewals;
  await clock.advance(10_000);
  expect([renewals, clock.pending]).toEqual([before, 0]);
});

test("a lease that the ledger calls lost is lost once", async () => {
  const { clock, told } = keep((leases) => held(leases, { held: false }));
  await clock.advance(5_000);
  expect(told).toEqual(["LEASE_LOST"]);
});

test("an owner that cannot reach the engine gives up before others are let in, though renewals hang", async () => {
  const { clock, told } = keep(() => new Promise(() => undefined));
  await clock.advance(740);
  expect(told).toEqual([]);
  await clock.advance(260);
  expect(told).toEqual(["LEASE_LOST"]);
});

test("one renewal that hangs costs no lease, and more than three are never under way", async () => {
  let sent = 0;
  const one = keep((leases) => (++sent === 1 ? new Promise(() => undefined) : held(leases)));
  await one.clock.advance(10_000);
  expect(one.told).toEqual([]);
  const hanging: Lease[][] = [];
  const all = keep((leases) => {
    hanging.push([...leases]);
    return new Promise(() => undefined);
  });
  // Leases that begin, and so end, a moment apart, each with a timer of its own.
  for (let i = 0; i < 50; i++) {
    all.keeper.keep(lease, all.clock.monotonic(), {
      lost: () => undefined,
      cancelRequested: () => undefined,
    });
    await all.clock.advance(10);
  }
  await all.clock.advance(5_000);
  expect([all.told, hanging.length]).toEqual([["LEASE_LOST"], 3]);
});

test("an old answer that comes late takes nothing from a newer one", async () => {
  const answers: (() => void)[] = [];
  const { clock, told } = keep(
    (leases) =>
      new Promise((resolve) => {
        answers.push(() => {
          resolve(leases.map((one) => ({ lease: one, held: true })));
        });
      }),
  );
  await clock.advance(740);
  answers[1]!();
  await clock.advance(1);
  answers[0]!();
  // The second one was sent at 500.
  await clock.advance(650);
  expect(told).toEqual([]);
  await clock.advance(20);
  expect(told).toEqual(["LEASE_LOST"]);
});

test("renewals that fail for a while are made up for", async () => {
  let down = true;
  const { clock, told } = keep((leases) => (down ? Promise.reject(new Error("down")) : held(leases)));
  await clock.advance(500);
  down = false;
  await clock.advance(5_000);
  expect(told).toEqual([]);
});

test("a stop that was asked for elsewhere is told with the renewal", async () => {
  const { clock, told } = keep((leases) => held(leases, { cancelRequested: "interrupt" }));
  await clock.advance(250);
  expect(told).toEqual(["interrupt"]);
});

test("leases of a ledger that nobody shares never expire and cost no timer", () => {
  const clock = new ManualClock();
  const keeper = new LeaseKeeper(new MemoryRunLedger({ clock }), 1_000, clock);
  keeper.keep(lease, 0, { lost: () => undefined, cancelRequested: () => undefined });
  expect([keeper.leaseMs, clock.pending]).toEqual([Number.POSITIVE_INFINITY, 0]);
});
