// Everything but the findings: the conclusion, what we were blind to, the square, nodes, losses.

import { byId, el, rebuild, setAttribute, setText } from "./dom.js";
import { capital, clock, number, percent, perSecond, plural, printable, since } from "./words.js";

const RATES_KEPT = 90;
const rates = [];

export function showOverview(status) {
  showHeader(status);
  showConclusion(status.conclusion.state, status.conclusion.sentence, status.conclusion.blind);
  showErrors(status);
  for (const square of ["expected", "unexpected", "blocked", "denied"]) showCount(square, status.squares[square]);
  rebuild(byId("facts"), facts(status), (pairs) => pairs.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]));
  rebuild(byId("nodes"), nodes(status), (rows) => rows.length ? rows.map(nodeRow) : [emptyRow(5, "no node has reported")]);
  rebuild(byId("lost"), counts(status.lost), (rows) => rows.length ? rows.map(countRow) : [emptyRow(2, "none")]);
  const kinds = [...counts(status.verdicts), ...counts(status.classes)];
  rebuild(byId("kinds"), kinds, (rows) => rows.length ? rows.map(countRow) : [emptyRow(2, "none yet")]);
  showUnused(status.unused_rules);
}

// The answer is old: nothing may be concluded from it any more.
export function showStale(last, reason) {
  const seen = last ? `; what stands below is from ${clock(last)}` : "";
  showConclusion("unknown", "flowwatch does not answer this page", [`${reason}${seen}`]);
  setAttribute(document.body, "data-stale", "yes");
}

function showHeader(status) {
  setAttribute(document.body, "data-stale", null);
  setText(byId("cluster"), status.cluster);
  const up = since(status.now, status.started);
  setText(byId("stream"), `${status.stream} from ${status.source}, up ${up}`);
  setAttribute(byId("stream"), "data-state", status.stream);
  setAttribute(byId("stream"), "title", `since ${clock(status.started)}`);
  setText(byId("rate"), `${perSecond(status.flows_per_second)}, ${plural(status.flows, "flow")}`);
  setText(byId("version"), `flowwatch ${status.version}, ${clock(status.now)}`);
  rates.push(status.flows_per_second ?? 0);
  if (rates.length > RATES_KEPT) rates.shift();
  drawRates(byId("rates"));
}

function drawRates(svg) {
  const top = Math.max(...rates, 1e-9);
  const step = 120 / (RATES_KEPT - 1);
  const from = 120 - step * (rates.length - 1);
  const points = rates.map((rate, position) => `${(from + position * step).toFixed(1)},${(22 - (20 * rate) / top).toFixed(1)}`);
  const line = svg.firstElementChild ?? svg.appendChild(document.createElementNS(svg.namespaceURI, "polyline"));
  line.setAttribute("points", points.join(" "));
}

function showConclusion(state, sentence, blind) {
  setText(byId("state"), capital(state));
  setAttribute(byId("conclusion"), "data-state", state.replace(" ", "-"));
  setText(byId("sentence"), capital(sentence));
  byId("blind").hidden = blind.length === 0;
  setText(byId("blind"), `We were blind: ${blind.join("; ")}.`);
  document.title = `${printable(state)} · flowwatch`;
}

function showErrors(status) {
  const places = [["Stream", status.stream_error], ["Allowlist", status.allowlist_error], ["Store", status.store_error]];
  const told = places.filter(([, text]) => text);
  byId("errors").hidden = told.length === 0;
  rebuild(byId("errors"), told, (errors) =>
    errors.map(([place, text]) => el("div", {}, el("h2", {}, `${place} error`), el("pre", {}, ...lines(text)))));
}

// A line break is the one control character an error may have.
const lines = (text) => text.split("\n").flatMap((line) => [printable(line), document.createElement("br")]);

function showCount(square, count) {
  const node = byId(`count-${square}`);
  setText(node, number(count ?? 0));
  setAttribute(node.closest("td"), "data-zero", count ? null : "yes");
}

function facts(status) {
  const streaming = status.nodes.filter((node) => node.streaming).length;
  const lost = Object.values(status.lost).reduce((sum, count) => sum + count, 0);
  const alerts = counts(status.alerts).map(([state, count]) => `${number(count)} ${state}`).join(", ");
  return [
    ["Watched", `${percent(status.coverage)} of what happened`],
    ["Nodes", status.nodes.length ? `${streaming} of ${number(status.nodes.length)} streaming` : "none has reported"],
    ["Lost", lost ? `${plural(lost, "event")} since the start` : "no event"],
    ["Rules", `${number(status.rules)} declared, ${number(status.unused_rules.length)} never used`],
    ["Not judged", plural(status.squares.unknown ?? 0, "edge")],
    ["Alerts", alerts || "none"],
    ...status.conditions.map((one) => [printable(one.type), `${one.status}: ${printable(one.message)}`]),
    ["Stored", `${plural(status.rows_stored, "row")}, ${number(status.pending_rows)} pending`],
    ["File", status.store_path || "none"],
  ];
}

const counts = (mapping) =>
  Object.entries(mapping).filter(([, count]) => count).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));

const countRow = ([name, count]) => el("tr", {}, el("td", {}, name.toLowerCase()), el("td", { class: "count" }, number(count)));

const emptyRow = (columns, text) => el("tr", {}, el("td", { colspan: columns, class: "quiet" }, text));

// Silent nodes first: they are why an answer may be "unknown".
const nodes = (status) => status.nodes
  .map((node) => [node.node, node.streaming, node.flows, node.lost, since(status.now, node.last_flow), node.last_flow])
  .sort((a, b) => a[1] - b[1] || (a[0] < b[0] ? -1 : 1));

const nodeRow = ([name, streaming, flows, lost, last, time]) => el("tr", { class: streaming ? "" : "silent" },
  el("th", { scope: "row" }, name),
  el("td", {}, streaming ? "streaming" : "not streaming"),
  el("td", { class: "count" }, number(flows)),
  el("td", { class: "count" }, number(lost)),
  el("td", { class: "count", title: clock(time) }, time ? `${last} ago` : last));

function showUnused(rules) {
  byId("unused").hidden = rules.length === 0;
  rebuild(byId("unused-rules"), rules, (titles) => titles.map((title) => el("li", {}, el("code", {}, title))));
  setText(byId("unused").querySelector("summary"), `${plural(rules.length, "rule")} never used`);
}
