// Ask every two seconds, show what comes; say so when nothing does.

import { showFindings, startFindings } from "./findings.js";
import { showOverview, showStale } from "./overview.js";

const EVERY = 2000;
const PATIENCE = 10000;
let last = null;
let timer = 0;
let asking = false;

async function refresh() {
  clearTimeout(timer);
  if (asking) return;
  asking = true;
  try {
    const response = await fetch("api/v1/status", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    const body = await response.json();
    if (!response.ok) throw new Error(body.error ?? `it answered with status ${response.status}`);
    last = body.now;
    showOverview(body);
    showFindings(body);
  } catch (error) {
    showStale(last, error.name === "TimeoutError" ? "no answer within 10 s" : error.message || "no connection");
  }
  asking = false;
  if (!document.hidden) timer = setTimeout(refresh, EVERY);
}

// A page nobody looks at asks nothing.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else refresh();
});

startFindings();
refresh();
