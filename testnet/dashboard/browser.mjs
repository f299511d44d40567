// Chromium, steered by playwright-core: pages of the dashboard, what went wrong in them, and pictures.
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const here = createRequire(fileURLToPath(new URL("./work/", import.meta.url)));
const { chromium } = here("playwright-core");

export const WIDE = { width: 1280, height: 900 };
export const PHONE = { width: 390, height: 844 };

export class Browser {
  static async start(program) {
    const browser = new Browser();
    // Chromium's sandbox does not start as root.
    const args = process.getuid() === 0 ? ["--no-sandbox"] : [];
    browser.chromium = await chromium.launch({ executablePath: program, args });
    return browser;
  }

  /** A page at an address; `troubles` collects errors of the script, of its policy, and requests that left the node. */
  async open(url, { viewport = WIDE, colorScheme = "light", prepare = async () => {} } = {}) {
    const context = await this.chromium.newContext({ viewport, colorScheme });
    const page = await context.newPage();
    const troubles = [];
    page.on("pageerror", (error) => troubles.push(`error: ${error.message}`));
    page.on("console", (message) => {
      if (message.type() === "error" && !message.text().includes("Failed to load resource") && !message.text().includes("ERR_")) troubles.push(`console: ${message.text()}`);
    });
    page.on("request", (request) => {
      const { protocol, host } = new URL(request.url());
      if (protocol !== "data:" && host !== new URL(url).host) troubles.push(`left the node: ${request.url()}`);
    });
    await prepare(page);
    await page.goto(url);
    return { page, context, troubles };
  }

  end() { return this.chromium.close(); }
}

/** Whether the page is wider than its window. */
export const overflow = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

/** Texts of all elements that match. */
export const texts = (page, selector) => page.$$eval(selector, (all) => all.map((one) => one.innerText.trim()));
