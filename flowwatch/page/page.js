// What makes the page livelier: it refreshes what changed, filters without a reload, copies. Everything it shows was
// written by the server; nothing here builds markup from text.

const EVERY = 5000;
const PATIENCE = 10000;
let timer = 0;
let asking = null;

// Make `now` what `then` is, touching as little as possible: selection, focus and screen readers keep their place.
function become(now, then) {
  if (now.isEqualNode(then)) return;
  if (now.nodeType !== then.nodeType || now.nodeName !== then.nodeName || now.id !== then.id) {
    now.replaceWith(then);
    return;
  }
  if (now.nodeType === Node.TEXT_NODE) {
    now.data = then.data;
    return;
  }
  if (now.nodeType !== Node.ELEMENT_NODE) return;
  for (const name of now.getAttributeNames()) if (!then.hasAttribute(name)) now.removeAttribute(name);
  for (const name of then.getAttributeNames()) {
    if (now.getAttribute(name) !== then.getAttribute(name)) now.setAttribute(name, then.getAttribute(name));
  }
  const wanted = [...then.childNodes];
  const kept = new Set(wanted.map((child) => child.id).filter(Boolean));
  const named = new Map([...now.children].filter((child) => child.id).map((child) => [child.id, child]));
  wanted.forEach((child, position) => {
    const same = named.get(child.id);
    let here = now.childNodes[position];
    // What is known by its name is not moved, for that would take the focus from it: others make way or come before.
    while (same && here && here !== same && !kept.has(here.id)) {
      here.remove();
      here = now.childNodes[position];
    }
    if (same && here !== same) now.insertBefore(same, here ?? null);
    const there = now.childNodes[position];
    if (!there || (kept.has(there.id) && there !== same)) now.insertBefore(child, there ?? null);
    else become(there, child);
  });
  while (now.childNodes.length > wanted.length) now.lastChild.remove();
}

// Ask for an address and take over its parts: those that live, or those with the ids named.
async function take(address, ids) {
  asking?.abort();
  const mine = (asking = new AbortController());
  const late = setTimeout(() => mine.abort(new Error("no answer within 10 s")), PATIENCE);
  try {
    const response = await fetch(address, { signal: mine.signal, headers: { Accept: "text/html" } });
    const text = await response.text();
    const fresh = new DOMParser().parseFromString(text, "text/html");
    if (!response.ok) throw new Error(fresh.querySelector("main p")?.textContent ?? `status ${response.status}`);
    const wanted = ids ?? [...document.querySelectorAll("[data-live]")].map((node) => node.id);
    for (const id of wanted) {
      const [now, then] = [document.getElementById(id), fresh.getElementById(id)];
      if (now && then) become(now, then);
    }
    if (!ids) document.title = fresh.title;
    prepare();
    tell("");
    return true;
  } catch (error) {
    if (mine.signal.aborted && asking !== mine) return false;
    tell(`${ids ? "Not filtered" : "This is not current any more"}: ${error.message || "no connection"}`);
    return false;
  } finally {
    clearTimeout(late);
  }
}

function tell(text) {
  const notice = document.getElementById("stale");
  notice.hidden = !text;
  if (notice.textContent !== text) notice.textContent = text;
  document.body.toggleAttribute("data-stale", Boolean(text));
}

async function refresh() {
  clearTimeout(timer);
  if (document.querySelector("[data-live]")) await take(location.href);
  if (!document.hidden) timer = setTimeout(refresh, EVERY);
}

// Buttons that need this script are there only with it.
function prepare() {
  for (const button of document.querySelectorAll("button[data-copy][hidden]")) button.hidden = false;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("button[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  const before = (button.dataset.word ??= button.textContent);
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = before), 2000);
});

const filters = document.getElementById("filters");
if (filters) {
  const apply = async () => {
    const given = [...new FormData(filters)].filter(([, value]) => value.trim());
    const query = new URLSearchParams(given).toString();
    const address = location.pathname + (query ? `?${query}` : "");
    if (await take(address, ["results"])) history.replaceState(null, "", address);
  };
  let pause = 0;
  filters.addEventListener("input", (event) => {
    clearTimeout(pause);
    pause = setTimeout(apply, event.target.nodeName === "SELECT" ? 0 : 200);
  });
  filters.addEventListener("submit", (event) => {
    event.preventDefault();
    apply();
  });
  filters.toggleAttribute("data-quick", true);
}

// How links to findings were once written.
const linked = /^#finding\/([0-9a-f]{16})$/.exec(location.hash);
if (linked) location.replace(new URL(`findings/${linked[1]}`, document.querySelector(".name a").href));

// A page nobody looks at asks nothing.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else refresh();
});

prepare();
timer = setTimeout(refresh, EVERY);
