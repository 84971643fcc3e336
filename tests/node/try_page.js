// Tries the page in a browser: `node try_page.js CHROMIUM URL COLLECTION SCREENSHOT`. Prints what
// was asked for, what the browser complained of, and what the page showed.
import { chromium } from "playwright-core";

const [executablePath, url, collection, screenshot] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-sync"],
});
const page = await browser.newPage({ viewport: { width: 1100, height: 900 } });

const asked = [];
const complaints = [];
const keys = [];
page.on("request", async (request) => {
  asked.push(request.url().slice(0, 200));
  const sent = await request.allHeaders();
  if (sent.authorization) keys.push(sent.authorization);
});
page.on("console", (line) => {
  // Swagger UI says this of every name with an underscore: it once stood for a blank.
  const isAboutUnderscores = line.text().startsWith("Deprecated: escaping deep link");
  if (line.type() === "error" && !isAboutUnderscores) complaints.push(line.text());
});
page.on("pageerror", (error) => complaints.push(String(error)));

await page.goto(`${url}/docs`);
await page.click("a[href='/docs/try#/operations/create_product']");

const call = (name) => page.locator(`.opblock[id$='-${name}']`);
const open = call("create_product");
await open.locator(".execute").waitFor();
const operations = await page.locator(".opblock .opblock-summary-path").allInnerTexts();

await page.click(".auth-wrapper .authorize");
await page.fill(".auth-container input#auth-bearer-value", "a-key");
await page.locator(".auth-container", { has: page.locator("#auth-bearer-value") }).locator(".authorize").click();
await page.click(".btn-done");

async function execute(block) {
  await block.locator(".execute").click();
  await block.locator(".live-responses-table tbody .response-col_status").waitFor();
  return {
    status: (await block.locator(".live-responses-table tbody .response-col_status").first().innerText()).trim(),
    body: await block.locator(".live-responses-table tbody .response-col_description").first().innerText(),
  };
}

await open.locator("textarea.body-param__text").fill(
  JSON.stringify({
    collection_name: collection,
    product_list: [{ product_id: "by browser", product_name: "One", category: "其他" }],
  }),
);
const created = await execute(open);
await page.screenshot({ path: screenshot });

const picture = call("picture");
await picture.locator(".opblock-summary-control").click();
for (const [name, value] of Object.entries({
  collection_name: collection,
  product_id: "p1",
  image_id: "i1",
})) {
  await picture.locator(`tr[data-param-name='${name}'] input`).fill(value);
}
const kept = await execute(picture);
const shown = picture.locator(".live-responses-table img");
await shown.waitFor();
const width = await shown.evaluate(async (image) => (await image.decode(), image.naturalWidth));

await page.goto("about:blank");
await page.setViewportSize({ width: 390, height: 844 });
await page.goto(`${url}/docs/try`);
await call("create_product").waitFor();
const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
await page.screenshot({ path: screenshot.replace(".png", "-phone.png") });

console.log(JSON.stringify({ overflow, asked, complaints, keys, operations, created, kept: kept.status, width }));
await browser.close();
