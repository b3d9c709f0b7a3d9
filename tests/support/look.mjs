// Opens a page in Chromium without a network and prints what it found, as JSON.
// look.mjs CHROMIUM URL WIDTH HEIGHT EXPRESSION [SCREENSHOT]
import chromium from "@sparticuz/chromium";
import puppeteer from "puppeteer-core";

const [executablePath, url, width, height, expression, screenshot] = process.argv.slice(2);
const browser = await puppeteer.launch({ args: chromium.args, executablePath, headless: "shell" });
try {
  const page = await browser.newPage();
  const complaints = [];
  const requests = [];
  page.on("console", (message) => complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("requestfailed", (request) => complaints.push(`failed: ${request.url().slice(0, 80)}`));
  page.on("request", (request) => requests.push(request.url().slice(0, 80)));
  await page.setOfflineMode(true);
  await page.setViewport({ width: Number(width), height: Number(height) });
  await page.goto(url, { waitUntil: "load" });
  const value = await page.evaluate(expression);
  if (screenshot) await page.screenshot({ path: screenshot });
  console.log(JSON.stringify({ value, complaints, requests }));
} finally {
  await browser.close();
}
