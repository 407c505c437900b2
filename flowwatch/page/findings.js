// The findings table: filters, rows that keep their place, details, deep links, copying.

import { arrange, byId, el, rebuild, setAttribute, setText } from "./dom.js";
import { clock, number, percent, plural, printable, since } from "./words.js";

const SQUARES = ["unexpected", "blocked", "denied", "unknown", "unused"];
const LINK = /^#finding\/([0-9a-f]{16})$/;

const rows = new Map(); // fingerprint → { row, details, open }
let status = null;
let linked = null; // the fingerprint a link asked for, until it was shown

export function startFindings() {
  const filters = byId("filters");
  filters.elements.square.append(...SQUARES.map((square) => el("option", { value: square }, square)));
  filters.addEventListener("input", draw);
  filters.addEventListener("submit", (event) => event.preventDefault());
  for (const button of document.querySelectorAll("button[data-square]")) {
    button.addEventListener("click", () => {
      filters.elements.square.value = button.dataset.square;
      draw();
      byId("findings").focus();
    });
  }
  addEventListener("hashchange", followLink);
  followLink();
}

export function showFindings(newStatus) {
  status = newStatus;
  const known = new Set(status.findings.map((finding) => finding.fingerprint));
  for (const key of rows.keys()) if (!known.has(key)) rows.delete(key);
  const namespaces = [...new Set(status.findings.flatMap(ends).filter(Boolean))].sort();
  const select = byId("filters").elements.namespace;
  const chosen = select.value;
  rebuild(select, namespaces, (names) => [el("option", { value: "" }, "all"), ...names.map((name) => el("option", { value: name }, name))]);
  if (select.value !== chosen) select.value = namespaces.includes(chosen) ? chosen : "";
  draw();
}

const ends = (finding) => [finding.source.namespace, finding.destination.namespace];

function draw() {
  if (!status) return;
  const { square, namespace, text } = Object.fromEntries(new FormData(byId("filters")));
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = status.findings.filter((finding) =>
    finding.fingerprint === linked ||
    ((!square || finding.square === square) &&
      (!namespace || ends(finding).includes(namespace)) &&
      words.every((word) => searched(finding).includes(word))));
  arrange(byId("rows"), shown.flatMap(rowsOf));
  byId("none").hidden = shown.length > 0;
  document.querySelector("table.findings").hidden = shown.length === 0;
  setText(byId("none"), emptiness());
  setText(byId("shown"), counted(shown.length));
  showLinked();
}

const searched = (finding) =>
  [finding.sentence, finding.fingerprint, ...[finding.source, finding.destination].flatMap((end) => [end.ip ?? "", ...(end.names ?? []), ...end.labels])]
    .join(" ").toLowerCase();

function counted(shown) {
  const { findings, findings_total: total } = status;
  const rest = total > findings.length ? ` The newest ${number(findings.length)} are here, all are at /api/v1/findings.` : "";
  if (!total) return "";
  return (shown === total ? plural(total, "finding") : `${number(shown)} of ${plural(total, "finding")}`) + "." + rest;
}

function emptiness() {
  if (status.findings_total) return "No finding matches these filters.";
  if (status.conclusion.state === "unknown") return "No active findings, but that says little: not everything was watched.";
  return "No active findings.";
}

// One finding is two rows: what everybody reads, and what is there when asked for.
function rowsOf(finding) {
  let entry = rows.get(finding.fingerprint);
  if (!entry) {
    entry = build(finding);
    rows.set(finding.fingerprint, entry);
  }
  update(entry, finding);
  return entry.open ? [entry.row, entry.details] : [entry.row];
}

function build(finding) {
  const id = `details-${finding.fingerprint}`;
  const cell = (label, kind = "count") => el("td", { role: "cell", class: kind, "data-label": label });
  const entry = {
    open: false,
    edge: el("button", { type: "button", class: "edge", "aria-expanded": "false", "aria-controls": id }),
    what: el("span", { class: "what" }),
    nearest: cell("Nearest rule", "nearest"),
    since: cell("Since"),
    last: cell("Last seen"),
    flows: cell("Flows"),
    connections: cell("Connections"),
    inside: el("td", { role: "cell", colspan: 6 }),
  };
  const tag = el("span", { class: "tag" }, finding.square);
  const told = el("td", { role: "cell", class: "told" }, tag, entry.edge, " ", entry.what);
  entry.row = el("tr", { role: "row", class: `finding ${SQUARES.includes(finding.square) ? finding.square : ""}` },
    told, entry.nearest, entry.since, entry.last, entry.flows, entry.connections);
  entry.details = el("tr", { role: "row", class: "details", id }, entry.inside);
  entry.edge.addEventListener("click", () => toggle(finding.fingerprint, !entry.open));
  return entry;
}

function update(entry, finding) {
  setText(entry.edge, finding.edge);
  setText(entry.what, predicate(finding));
  rebuild(entry.nearest, [finding.nearest_rule, finding.differs], ([rule, differs]) =>
    rule ? [el("code", {}, rule), el("span", { class: "differs" }, `differs in ${differs.join(" and ")}`)] : [el("span", { class: "quiet" }, "none")]);
  setText(entry.since, since(status.now, finding.first_seen));
  setText(entry.last, `${since(status.now, finding.last_seen)} ago`);
  setText(entry.flows, number(finding.flows));
  setText(entry.connections, number(finding.connections));
  setAttribute(entry.since, "title", clock(finding.first_seen));
  setAttribute(entry.last, "title", clock(finding.last_seen));
  setAttribute(entry.edge, "aria-expanded", String(entry.open));
  if (entry.open) rebuild(entry.inside, finding, details);
}

// The sentence begins with the edge and may end with the nearest rule, which has a column of its own.
function predicate(finding) {
  const { sentence, edge, nearest_rule: rule, differs } = finding;
  const nearest = `; nearest rule \`${rule}\` differs in ${differs.join(" and ")}`;
  return sentence.slice(edge.length, rule && sentence.endsWith(nearest) ? -nearest.length : undefined).trim();
}

function details(finding) {
  const list = (items) => items.length > 0 && el("ul", {}, items.map((item) => el("li", {}, el("code", {}, item))));
  const pairs = [
    ["Sentence", copyable(`${finding.sentence}.`)],
    ["To allow it", finding.allowlist_entry && copyable(finding.allowlist_entry)],
    ["Seen", `${clock(finding.first_seen)} to ${clock(finding.last_seen)}`],
    ["Side", finding.direction === "unknown" ? "" : `reported by the ${finding.direction} side`],
    ["Watched", `${percent(finding.coverage)} of the window`],
    ["Declared by", finding.rule && el("code", {}, finding.rule)],
    ["Reason", finding.reason],
    ["Drop reasons", finding.drop_reasons.join(", ")],
    ["Policies", list(finding.policies)],
    ["From", peer(finding.source)],
    ["To", peer(finding.destination)],
    ["Sample flows", list(finding.samples)],
    ["Link", el("a", { href: `#finding/${finding.fingerprint}` }, finding.fingerprint)],
  ];
  return [el("dl", {}, pairs.filter(([, value]) => value).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]))];
}

function peer(end) {
  const where = [end.name, end.kind, end.cluster && `cluster ${end.cluster}`, end.ip].filter(Boolean);
  const names = end.names?.length ? el("p", {}, `looked up as ${end.names.join(", ")}`) : null;
  return [el("p", {}, [...new Set(where)].join(", ")), names, el("ul", { class: "labels" }, end.labels.map((label) => el("li", {}, el("code", {}, label))))];
}

function copyable(text) {
  const code = el("code", {}, text);
  const button = el("button", { type: "button", class: "copy" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      setText(button, "Copied");
    } catch {
      getSelection().selectAllChildren(code);
      setText(button, "Selected");
    }
  });
  return el("span", { class: "copyable" }, code, button);
}

function toggle(fingerprint, open) {
  const entry = rows.get(fingerprint);
  if (!entry) return;
  entry.open = open;
  history.replaceState(null, "", open ? `#finding/${fingerprint}` : location.pathname + location.search);
  if (!open && linked === fingerprint) linked = null;
  draw();
}

function followLink() {
  linked = LINK.exec(location.hash)?.[1] ?? null;
  draw();
}

// A link shows its finding whatever the filters say, and says so when there is none any more.
function showLinked() {
  if (!linked) {
    byId("notice").hidden = true;
    return;
  }
  const entry = rows.get(linked);
  byId("notice").hidden = Boolean(entry);
  if (!entry) {
    setText(byId("notice"), `The finding ${printable(linked)} of this link is not active.`);
    return;
  }
  linked = null;
  if (!entry.open) {
    entry.open = true;
    draw();
  }
  entry.row.scrollIntoView({ block: "center" });
  entry.edge.focus({ preventScroll: true });
}
