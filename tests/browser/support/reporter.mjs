/**
 * One line per test, failures with their error, and a closing line "N passed, N failed".
 * A file that fails outside its tests (a hook, a syntax error) counts as a failure too.
 */
export default async function* report(source) {
  let passed = 0;
  let failed = 0;
  for await (const { type, data } of source) {
    if (type === "test:pass" || type === "test:fail") {
      // A group only repeats what its tests said, unless it failed for a reason of its own.
      const skippedGroup = data.details.type === "suite" && data.skip !== undefined;
      const group = (data.details.type === "suite" && !skippedGroup) || data.details.error?.failureType === "subtestsFailed";
      if (group) continue;
      const skipped = data.skip !== undefined;
      const word = type === "test:fail" ? "FAILED" : skipped ? "skipped" : "ok";
      yield `${"  ".repeat(data.nesting)}${word.padEnd(7)} ${data.name}${skipped && data.skip !== true ? ` (${data.skip})` : ""}\n`;
      if (type === "test:fail") {
        failed += 1;
        const error = data.details.error?.cause ?? data.details.error;
        yield `${String(error?.stack ?? error).replace(/^/gm, "        ")}\n`;
      } else if (!skipped) {
        passed += 1;
      }
    } else if (type === "test:stderr" || type === "test:stdout") {
      yield data.message;
    }
  }
  yield `\n${passed} passed, ${failed} failed\n`;
}
