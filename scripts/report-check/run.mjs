// Loads reports in a headless Chromium, and checks them as a reader would see them:
//
//   node run.mjs [--shots DIR] NAME REPORT.html EVENTS.ndjson [NAME REPORT.html EVENTS.ndjson ...]
//
// Each report, light and dark, at the widths of a phone, a tablet and a desk: no message on the console, no request; no
// text over another, none outside its drawing, none wider than the page; contrast of at least 4.5 to 1; nothing that
// axe-core objects to; the same text without JavaScript; each data-frame is a frame of the events, and the frames of all
// findings are there. Ends with status 0, with 1 and the offences, or with 2 where the browser is missing.
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const BROWSER = "/usr/bin/chromium";
const WIDTHS = [390, 768, 1440];
// Problems with details, of the report's limits.
const MOST = 200;
const ARGUMENTS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

const require = createRequire(import.meta.url);
let chromium, axe;
try {
  if (!existsSync(BROWSER)) throw new Error(`${BROWSER} is missing`);
  ({ chromium } = require("playwright-core"));
  axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
} catch (error) {
  console.error(String(error.message).split("\n")[0]);
  process.exit(2);
}

const rest = process.argv.slice(2);
let shots = null;
if (rest[0] === "--shots") {
  shots = rest[1];
  mkdirSync(shots, { recursive: true });
  rest.splice(0, 2);
}

const offences = [];
// Playwright makes a new profile for each start.
const browser = await chromium.launch({ executablePath: BROWSER, args: ARGUMENTS });
for (let at = 0; at + 2 < rest.length; at += 3) {
  await check(rest[at], rest[at + 1], rest[at + 2]);
}
await browser.close();
for (const offence of offences) console.log(offence);
console.log(`${rest.length / 3} reports, ${offences.length} offences`);
process.exit(offences.length ? 1 : 0);

async function check(name, report, events) {
  const complain = (where, what) => offences.push(`${name}: ${where}: ${what}`);
  const url = pathToFileURL(report).href;
  let whole = null;
  for (const colorScheme of ["light", "dark"]) {
    const context = await browser.newContext({ colorScheme });
    const page = await context.newPage();
    page.on("console", (message) => complain(colorScheme, `console: ${message.text()}`));
    page.on("pageerror", (error) => complain(colorScheme, `error: ${error}`));
    page.on("request", (request) => {
      if (request.url() !== url) complain(colorScheme, `request: ${request.url().slice(0, 200)}`);
    });
    for (const width of WIDTHS) {
      const where = `${colorScheme} ${width}`;
      await page.setViewportSize({ width, height: 900 });
      if (page.url() !== url) await page.goto(url);
      for (const offence of await page.evaluate(layout)) complain(where, offence);
      for (const offence of await page.evaluate(contrast)) complain(where, offence);
      if (shots) {
        await page.screenshot({ path: `${shots}/${name}-${colorScheme}-${width}.png`, fullPage: true });
      }
    }
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run(document));
    for (const { id, help, nodes } of violations) {
      complain(colorScheme, `axe: ${id}: ${help}: ${nodes[0].html.slice(0, 200)}`);
    }
    whole = await page.evaluate(() => document.body.innerText);
    for (const offence of frames(await page.evaluate(named), events)) complain("frames", offence);
    await context.close();
  }
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.goto(url);
  if ((await page.locator("body").innerText()) !== whole) complain("without JavaScript", "another text");
  if ((await page.locator("script").count()) > 0) complain("without JavaScript", "a script");
  await context.close();
}

// What names a frame: its number, behind the input if the report has several.
function named() {
  return [...document.querySelectorAll("[data-frame]")].map((element) => ({
    frame: element.dataset.frame,
    text: element.textContent,
    where: element.closest(".evidence") ? "evidence" : "",
  }));
}

function frames(found, path) {
  const all = new Set();
  const findings = new Map();
  const lines = readFileSync(path, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line));
  const inputs = new Set(lines.map((line) => line.input).filter(Boolean));
  const of = (input) => (inputs.size > 1 && input !== undefined ? `${input}:` : "");
  const collect = (value, input) => {
    if (Array.isArray(value)) value.forEach((part) => collect(part, input));
    if (value === null || typeof value !== "object" || Array.isArray(value)) return;
    const own = value.input ?? input;
    for (const key of ["frame", "settled_frame"]) {
      if (typeof value[key] === "number") all.add(`${of(own)}${value[key]}`);
    }
    for (const part of Object.values(value)) collect(part, own);
  };
  for (const line of lines) {
    collect(line, undefined);
    const body = line[line.event_type];
    if (!body.incident_id) continue;
    // The last revision of a finding counts, and the last record of its incident.
    if (body.severity === "info") findings.delete(body.incident_id);
    else if (body.evidence) {
      findings.set(body.incident_id, body.evidence.map((it) => `${of(it.input ?? line.input)}${it.frame}`));
    }
  }
  const offences = [];
  for (const { frame, text } of found) {
    if (!all.has(frame)) offences.push(`${frame} is no frame of the events`);
    if (!text.includes(frame.split(":").pop())) offences.push(`${frame} is not in "${text}"`);
  }
  const evidence = new Set([...findings.values()].flat());
  const shown = new Set(found.filter((it) => it.where === "evidence").map((it) => it.frame));
  // A page writes that it leaves out the details of further problems.
  for (const frame of findings.size > MOST ? [] : evidence) if (!shown.has(frame)) offences.push(`${frame} of a finding is not there`);
  for (const frame of shown) if (!evidence.has(frame)) offences.push(`${frame} is no evidence`);
  return offences.slice(0, 5);
}

// Text over text, text outside its drawing, and anything wider than the page.
function layout() {
  const offences = [];
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (wide > 0) offences.push(`the page is ${wide} px too wide`);
  const boxes = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (!node.textContent.trim() || parent.closest("title, style")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const svg = parent.closest("svg");
    const rects = svg ? [parent.getBoundingClientRect()] : [...range.getClientRects()];
    if (!rects.some((rect) => rect.width > 0 && rect.height > 0)) {
      offences.push(`not visible: ${node.textContent.trim().slice(0, 60)}`);
    }
    for (const rect of rects) {
      if (rect.width === 0 || rect.height === 0) continue;
      // Lines of text may touch; letters have room above and below.
      const inset = Math.min(3, rect.height / 4);
      boxes.push({ left: rect.left + 0.5, right: rect.right - 0.5, top: rect.top + inset, bottom: rect.bottom - inset, text: node.textContent.trim().slice(0, 40) });
      if (svg) {
        const frame = svg.getBoundingClientRect();
        const slack = 0.5;
        if (rect.left < frame.left - slack || rect.right > frame.right + slack || rect.top < frame.top - slack || rect.bottom > frame.bottom + slack) {
          offences.push(`outside its drawing: ${node.textContent.slice(0, 60)}`);
        }
      }
    }
  }
  boxes.sort((a, b) => a.top - b.top);
  let open = [];
  for (const box of boxes) {
    open = open.filter((other) => other.bottom > box.top);
    for (const other of open) {
      if (other.left < box.right && box.left < other.right) {
        offences.push(`"${box.text}" is over "${other.text}"`);
      }
    }
    open.push(box);
  }
  return offences.slice(0, 5);
}

// Text of drawings, which axe does not measure, and their lines, which need 3 to 1.
function contrast() {
  const parse = (color) => color.match(/[\d.]+/g).slice(0, 3).map(Number);
  const luminance = (color) => {
    const [r, g, b] = parse(color).map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  const page = getComputedStyle(document.body).backgroundColor;
  const offences = [];
  for (const [selector, property, least] of [["svg text", "fill", 4.5], ["svg .line", "stroke", 3]]) {
    for (const element of document.querySelectorAll(selector)) {
      const found = ratio(getComputedStyle(element)[property], page);
      if (found < least) offences.push(`contrast ${found.toFixed(2)}: ${element.outerHTML.slice(0, 80)}`);
    }
  }
  return offences.slice(0, 5);
}
