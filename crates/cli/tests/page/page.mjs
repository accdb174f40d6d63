// Opens the page of a running proxy in headless Chromium and checks it with the keyboard alone. Prints
// the counts of the last storm as JSON. Exits with 1 if a check fails.
//
//   node page.mjs PAGE SCREENSHOTS
import assert from "node:assert/strict";
import { join } from "node:path";
import { until, withBrowser } from "./browser.mjs";

const [page, screenshots] = process.argv.slice(2);
const TIMEOUT = 60_000;
console.log(JSON.stringify(await withBrowser(page, screenshots, look)));

async function look({ tab, consoleMessages, foreign }) {
  // The countdown of the session runs.
  const countdown = tab.locator(".countdown").first();
  await tab.locator("#connection", { hasText: "live" }).waitFor({ timeout: TIMEOUT });
  await until(async () => (await seconds(countdown)) > 0.5);
  const before = await seconds(countdown);
  await until(async () => {
    const now = await seconds(countdown);
    return now < before && now > 0;
  });
  assert.equal(await tab.locator("#sessions th").first().textContent(), "demo");

  // Waits for a complete storm with several refusals: one refresh, and every request is answered.
  const summary = tab.locator("#summary");
  const count = (text, what) => Number(text.match(new RegExp(`(\\d+) ${what}`))?.[1]);
  const isWhole = (text) => /, 1 refresh \(refreshed\),/.test(text) && !text.startsWith("In progress") &&
    count(text, "refused") > 1 && count(text, "replayed") === count(text, "refused");
  await tab.keyboard.press("Tab");
  assert.equal(await focused(tab), "Skip to the last storm");
  const hold = tab.locator("#hold");
  await hold.focus();
  let text = "";
  while (!isWhole(text)) {
    await until(async () => isWhole(await summary.textContent()));
    await tab.keyboard.press("Enter");
    text = await summary.textContent();
    // The next storm may have begun before the key press: then release the hold and wait again.
    if (!isWhole(text)) await tab.keyboard.press("Enter");
  }
  assert.equal(await hold.getAttribute("aria-pressed"), "true");
  const drawn = await tab.locator("#timeline .lane").count();
  const [requests, refused, waited, replayed, answered] = ["request", "refused", "waited", "replayed", "answered"]
    .map((what) => count(text, what));
  assert.equal(drawn, Math.min(200, requests), text);
  assert.ok(refused > 1 && refused === replayed, text);
  assert.ok(waited >= refused && answered === requests, text);
  assert.equal(await tab.locator("#timeline .refresh").count(), 1);
  for (const kind of ["sent", "refused", "waiting", "replayed", "answered"]) {
    assert.ok(await tab.locator(`#timeline .${kind}`).count() > 0, `no line is ${kind}`);
  }
  assert.equal(await tab.locator("#timeline .refused").count(), refused, "each refusal is drawn");
  await tab.screenshot({ path: join(screenshots, "page-light.png"), fullPage: true });

  // The keyboard moves into the timeline, along its lanes, and into the table.
  await tab.keyboard.press("Tab");
  const first = await focused(tab);
  assert.match(first, /^Request 1, GET on route api: .*answered 200/);
  await tab.keyboard.press("ArrowDown");
  const second = await focused(tab);
  assert.match(second, /^Request 2, /);
  assert.equal(await tab.locator("#detail").textContent(), second);
  await tab.keyboard.press("End");
  assert.match(await focused(tab), new RegExp(`^Request ${drawn}, `));
  await tab.keyboard.press("Tab");
  assert.equal(await focused(tab), "The storm as a table");
  await tab.keyboard.press("Enter");
  const rows = tab.locator("#rows tr");
  await rows.first().waitFor({ state: "visible" });
  assert.equal(await rows.count(), drawn);
  const statuses = await rows.locator("td:last-child").allTextContents();
  assert.deepEqual([...new Set(statuses)], ["200"]);
  await tab.screenshot({ path: join(screenshots, "page-table.png"), fullPage: true });
  await tab.keyboard.press("Enter");

  // Dark mode, a phone's width, and reduced motion.
  const light = await contrasts(tab);
  await tab.emulateMedia({ colorScheme: "dark", reducedMotion: "reduce" });
  const dark = await contrasts(tab);
  await tab.screenshot({ path: join(screenshots, "page-dark.png"), fullPage: true });
  await tab.setViewportSize({ width: 390, height: 800 });
  const wide = await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `the page is ${wide} pixels wider than a phone`);
  await tab.screenshot({ path: join(screenshots, "page-phone.png"), fullPage: true });
  assert.notEqual(light.ground, dark.ground);
  for (const scheme of [light, dark]) {
    for (const [what, ratio] of scheme.ratios) assert.ok(ratio >= 4.5, `${what} has a contrast of ${ratio}`);
  }

  // Without the hold the page shows the next storm.
  await hold.focus();
  await tab.keyboard.press("Space");
  await until(async () => (await summary.textContent()) !== text);

  assert.deepEqual(foreign(), [], "requests to other origins");
  assert.deepEqual(consoleMessages, [], "messages on the console");
  return { requests, refused, waited, replayed, answered, drawn, contrasts: [light, dark].map(least) };
}

async function seconds(locator) {
  return Number.parseFloat(await locator.textContent());
}

function focused(tab) {
  return tab.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent);
}

/** The contrast of every text and mark against its background (WCAG 2.2, 1.4.3). */
function contrasts(tab) {
  return tab.evaluate(() => {
    const style = getComputedStyle(document.documentElement);
    const luminance = (hex) => {
      const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
        .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const ratios = [];
    for (const ground of ["ground", "panel"]) {
      for (const name of ["text", "quiet", "sent", "refused", "waiting", "replayed", "refresh"]) {
        const [a, b] = [luminance(colour(ground)), luminance(colour(name))];
        ratios.push([`${name} on ${ground}`, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
      }
    }
    return { ground: getComputedStyle(document.body).backgroundColor, ratios };
  });
}

function least({ ratios }) {
  return Math.min(...ratios.map(([, ratio]) => ratio)).toFixed(1);
}
