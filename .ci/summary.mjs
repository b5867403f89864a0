// Adds up vitest's JSON reports in a folder and the names of failed checks; prints one line and exits with 1 when
// anything failed. A run whose exit status is bad though no test failed (an unhandled error, no report at all)
// counts as one failed, as does a test file that failed outside of its tests.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const [folder, ...failedChecks] = process.argv.slice(2);
let passed = 0;
let failed = failedChecks.length;
let skipped = 0;

for (const check of failedChecks) console.log(`failed: ${check}`);
for (const file of readdirSync(folder).filter((name) => name.endsWith(".status"))) {
  const name = file.slice(0, -".status".length);
  const status = Number(readFileSync(join(folder, file), "utf8"));
  const path = join(folder, `${name}.report.json`);
  const report = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : { testResults: [] };
  const tests = report.testResults.flatMap((result) => result.assertionResults);
  const count = (...statuses) => tests.filter((test) => statuses.includes(test.status)).length;
  const brokenFiles = report.testResults.filter(
    (result) =>
      result.status === "failed" && !result.assertionResults.some((test) => test.status === "failed"),
  );
  const failures = count("failed") + brokenFiles.length;
  passed += count("passed");
  skipped += tests.length - count("passed", "failed");
  failed += status !== 0 && failures === 0 ? 1 : failures;
  console.log(`${name}: ${count("passed")} passed, ${failures} failed, exit status ${status}`);
  for (const result of brokenFiles) console.log(`failed: ${result.name}`);
}
if (passed === 0 && failed === 0) failed = 1;

console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed === 0 ? 0 : 1;
