// Checks the page while its session and then its proxy end. Prints a line after each step, for the
// test that waits for it.
//
//   node ended.mjs PAGE SCREENSHOTS
import assert from "node:assert/strict";
import { join } from "node:path";
import { until, withBrowser } from "./browser.mjs";

const [page, screenshots] = process.argv.slice(2);
await withBrowser(page, screenshots, async ({ tab, consoleMessages, foreign }) => {
  const state = tab.locator("#sessions .state");
  await until(async () => (await state.textContent()) === "not used yet");
  assert.match(await tab.locator("#summary").textContent(), /^No request has waited for a token/);
  assert.ok(!(await tab.locator("#timeline").isVisible()), "no timeline without requests");
  console.log("unused");

  await until(async () => (await state.textContent()) === "signed in");
  // The session is signed in before the request that waited for it has its answer.
  const answered = /^1 request, 1 refresh \(adopted\), 0 refused, 1 waited, 0 replayed, 1 answered/;
  await until(async () => answered.test(await tab.locator("#summary").textContent()));
  console.log("signed in");

  await until(async () => (await state.textContent()) === "ended");
  const failure = tab.locator("#sessions td").last();
  assert.match(await failure.textContent(), /could not be refreshed.*invalid_grant/);
  await until(async () => /1 refresh \(ended\).* 1 of them with a failure/.test(await tab.locator("#summary").textContent()));
  assert.equal(await tab.locator("#timeline .answered.failed").count(), 1);
  assert.ok(!(await tab.locator("#sessions progress").isVisible()), "no time is left");
  await tab.screenshot({ path: join(screenshots, "page-ended.png"), fullPage: true });
  const html = JSON.stringify(await tab.content());
  assert.deepEqual(consoleMessages, [], "messages on the console");
  assert.deepEqual(foreign(), [], "requests to other origins");
  console.log(`ended ${html}`);

  const connection = tab.locator("#connection");
  await until(async () => (await connection.textContent()) === "reconnecting");
  console.log("disconnected");
});
