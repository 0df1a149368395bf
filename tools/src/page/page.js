"use strict";
// The page of `netstack page`: asks for the state of the stack, and shows it. Texts from the stack are only
// ever text, never markup.

const $ = (id) => document.getElementById(id);
const view = { sort: "out", reversed: false, find: "", open: null };
/** What is drawn of the list: the answer's rows, and their elements by id. */
const list = { from: 0, total: 0, elements: new Map() };
/** The opened connection over time. */
let history = [];
let asks = 0, timer = 0;

/* The token is what is after the # of the address; it is kept out of the history, for this tab. */
if (location.hash.length > 1) {
  sessionStorage.setItem("token", location.hash.slice(1));
  window.history.replaceState(null, "", location.pathname);
}
const headers = { Authorization: `Bearer ${sessionStorage.getItem("token") ?? ""}` };

/* Numbers with their units, in three digits. */
const digits = (n) => (n < 9.995 ? n.toFixed(2) : n < 99.95 ? n.toFixed(1) : n.toFixed(0));
const scaled = (n, step, units) => {
  let unit = 0;
  while (n >= step && unit < units.length - 1) { n /= step; unit += 1; }
  return `${unit === 0 ? Math.round(n) : digits(n)} ${units[unit]}`;
};
const rate = (bytes) => scaled(bytes * 8, 1000, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"]);
const bytes = (n) => scaled(n, 1024, ["bytes", "KiB", "MiB", "GiB"]);
const percent = (part) => `${(100 * part).toFixed(1)} %`;
function time(micros) {
  if (micros < 1e3) return `${micros} µs`;
  if (micros < 1e6) return `${digits(micros / 1e3)} ms`;
  const seconds = micros / 1e6;
  if (seconds < 120) return `${digits(seconds)} s`;
  return seconds < 7200 ? `${digits(seconds / 60)} min` : `${digits(seconds / 3600)} h`;
}

/* Elements. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
/** Draws values from the left to the right, from 0 to the greatest. */
function chart(svg, values, length) {
  const most = Math.max(1, ...values), width = Math.max(1, length - 1);
  const first = length - values.length;
  const points = values.map((value, n) => `${first + n},${(30 - 29 * value / most).toFixed(1)}`);
  if (!svg.firstChild) {
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    for (const shape of ["polygon", "polyline"])
      svg.append(document.createElementNS("http://www.w3.org/2000/svg", shape));
  }
  svg.setAttribute("viewBox", `0 0 ${width} 31`);
  svg.lastChild.setAttribute("points", points.join(" "));
  svg.firstChild.setAttribute("points", [`${first},30`, ...points, `${width},30`].join(" "));
}
/** A list of bars; a click on one calls `choose` with its name, if there is any. */
function bars(element, items, choose) {
  const most = Math.max(1e-9, ...items.map((item) => item.part));
  element.replaceChildren(...items.map(({ name, text, part }) => {
    const fill = make("span", { class: "fill" });
    fill.style.width = `${100 * part / most}%`;
    const label = choose ? make("button", { type: "button", title: `Find: ${name}` }) : make("span", { class: "text" });
    label.append(make("span", {}, name.replaceAll("-", " ")), make("span", { class: "number" }, text));
    if (choose) label.addEventListener("click", () => choose(name));
    return make("li", {}, fill, label);
  }));
}
/** Writes a list of lines, if it has changed. */
function lines(element, texts, otherwise) {
  const all = texts.length ? texts : [otherwise];
  if (element.dataset.text === all.join("\n")) return;
  element.dataset.text = all.join("\n");
  element.replaceChildren(...all.map((text) => make("li", texts.length ? {} : { class: "dim" }, text)));
}

/* The list: a row for each connection that is on the screen, and room for the others. */
const columns = [
  ["id", "Id", null, (row) => row.id], ["peer", "Peer", null, (row) => row.peer],
  ["state", "State", null, (row) => row.state.toLowerCase()],
  ["out", "Out", "out", (row) => (row.out ? rate(row.out) : "–")], ["in", "In", "in", (row) => (row.in ? rate(row.in) : "–")],
  ["rtt", "RTT", "rtt", (row) => (row.rtt === null ? "" : time(row.rtt))],
  ["again", "Again/s", "again", (row) => (row.again > 0 ? row.again.toFixed(1) : "")],
  ["limit", "Limit", "limit", (row) => row.limit.replaceAll("-", " ")], ["recent", "Recent", null, null],
  ["age", "Age", "age", (row) => time(row.age)],
];
const right = new Set(["out", "in", "rtt", "again", "age"]);
const kind = (name) => `cell-${name} ${name === "again" ? "again " : ""}${right.has(name) ? "right" : ""}`;

function drawHead() {
  $("head").replaceChildren(...columns.map(([name, title, sort]) => {
    const cell = make("span", { role: "columnheader", class: kind(name) });
    if (!sort) { cell.append(title); return cell; }
    const mark = view.sort !== sort ? "" : view.reversed ? " ↑" : " ↓";
    if (mark) cell.setAttribute("aria-sort", view.reversed ? "ascending" : "descending");
    const button = make("button", { type: "button" }, title + mark);
    button.addEventListener("click", () => sortBy(sort));
    cell.append(button);
    return cell;
  }));
}
function sortBy(sort) {
  view.reversed = view.sort === sort && !view.reversed;
  view.sort = sort;
  $("sort").value = sort;
  drawHead();
  ask();
}
function makeRow(id) {
  const element = make("div", { role: "row", class: "row" });
  for (const [name] of columns) {
    if (name === "recent") {
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("class", "chart out cell-recent");
      element.append(svg);
    } else {
      const cell = make("span", { role: "cell", class: kind(name) });
      if (name === "id") cell.append(make("button", { type: "button" }));
      element.append(cell);
    }
  }
  element.addEventListener("click", () => open(id));
  return element;
}
const rowHeight = () => (matchMedia("(max-width: 760px)").matches ? 62 : 34);
/** The rows on the screen, and some around them. */
function wanted() {
  const height = rowHeight(), rows = $("rows");
  const first = Math.floor(rows.scrollTop / height), shown = Math.ceil(rows.clientHeight / height);
  return { from: Math.max(0, first - 10), rows: Math.min(200, shown + 20), first, last: first + shown };
}
function drawRows(flows) {
  list.from = flows.from;
  list.total = flows.total;
  list.rows = flows.rows.length;
  const height = rowHeight(), old = list.elements;
  list.elements = new Map();
  $("space").style.height = `${flows.total * height}px`;
  flows.rows.forEach((row, n) => {
    const element = old.get(row.id) ?? makeRow(row.id);
    old.delete(row.id);
    list.elements.set(row.id, element);
    element.style.transform = `translateY(${(flows.from + n) * height}px)`;
    element.setAttribute("aria-rowindex", String(flows.from + n + 2));
    columns.forEach(([name, , , text], column) => {
      const cell = element.children[column];
      if (name === "recent") chart(cell, row.recent ?? [], 30);
      else write(name === "id" ? cell.firstChild : cell, text(row));
    });
    if (!element.isConnected) $("space").append(element);
  });
  for (const element of old.values()) element.remove();
  $("table").setAttribute("aria-rowcount", String(flows.total + 1));
}
let scrolled = 0;
$("rows").addEventListener("scroll", () => {
  clearTimeout(scrolled);
  scrolled = setTimeout(() => {
    const { first, last } = wanted();
    if (first < list.from || Math.min(last, list.total) > list.from + list.rows) ask();
  }, 50);
});

/* The whole. */
function show(state) {
  $("notice").hidden = true;
  $("main").hidden = false;
  const { stack, load, network } = state;
  for (const part of document.querySelectorAll(".of-stack")) part.hidden = !stack;
  if (!stack) {
    document.title = "switch";
    write($("name"), "Switch");
    write($("about"), state.path);
    drawSwitch(state.switch);
    return;
  }
  const title = [stack.process, stack.name !== "netstack" && stack.name].filter(Boolean).join(" · ") || "netstack";
  document.title = `${title}: ${load.connections} connections`;
  write($("name"), title);
  write($("about"), `process ${stack.pid}, netstack ${stack.version}, ${time(stack.age)} old`);
  if (state.skipped) warn(`The stack is of a later version: ${state.skipped} parts of its answers were skipped.`);
  const [out, into] = state.history.at(-1) ?? [0, 0];
  write($("connections"), load.connections.toLocaleString("en"));
  write($("sockets"), `${load.sockets.toLocaleString("en")} sockets, ${load.time_wait.toLocaleString("en")} in TIME-WAIT`);
  write($("out"), rate(out));
  write($("in"), rate(into));
  chart($("out-chart"), state.history.map((it) => it[0]), 120);
  chart($("in-chart"), state.history.map((it) => it[1]), 120);
  write($("busy"), percent(load.busy));
  write($("process"), `the process ${percent(load.process)}`);
  write($("buffers"), bytes(load.buffer_bytes));
  write($("frames"), `${Math.round(load.frames_out)} frames/s out, ${Math.round(load.frames_in)} in`);
  const limits = state.limits.map(({ name, count }) => ({ name, part: count, text: count.toLocaleString("en") }));
  bars($("limits"), limits, (name) => find(name));
  $("drops").hidden = !state.drops.length;
  $("no-drops").hidden = state.drops.length > 0;
  $("drops").tBodies[0].replaceChildren(...state.drops.map((drop) => make("tr", {}, make("td", {}, drop.reason),
    make("td", { class: "number" }, drop.count.toLocaleString("en")), make("td", { class: "number" }, drop.rate.toFixed(1)))));
  const { total } = state.flows;
  write($("found"), view.find ? `${total.toLocaleString("en")} of ${load.connections.toLocaleString("en")}` : "");
  drawRows(state.flows);
  drawNetwork(network, state.neighbours);
  drawSwitch(state.switch);
  drawOpened(state);
}
function drawNetwork(network, neighbours) {
  const link = network.link;
  const up = !link.is_up ? "down" : link.has_carrier ? "up" : "up, without a carrier";
  const ether = link.hardware_address ? `, ${link.hardware_address}` : "";
  write($("link"), `Link ${up}, MTU ${link.mtu}${ether}${network.any_ip ? ", accepts packets to any address" : ""}`);
  lines($("addresses"), network.addresses.map((address) => {
    const is = (name) => (network[name].includes(address.split("/")[0]) ? ` (${name})` : "");
    return address + is("tentative") + is("deprecated");
  }), "none");
  const routes = network.routes.map((route) => `${route.destination} ${route.gateway ? `via ${route.gateway}` : "on the link"}`);
  const more = network.routes_total - routes.length;
  lines($("routes"), more > 0 ? [...routes, `and ${more} more`] : routes, "those of the addresses");
  const known = neighbours.first.map((it) => `${it.address}${it.hardware_address ? ` at ${it.hardware_address}` : ""}, ${it.state}`);
  const others = neighbours.total - known.length;
  lines($("neighbours"), others > 0 ? [...known, `and ${others} more`] : known, "none");
  lines($("names"), [...network.name_servers.map((it) => `server ${it}`), ...network.search_domains.map((it) => `search ${it}`),
    ...network.failures.map((it) => `failure: ${it}`)], "no name servers");
}
function drawSwitch(shown) {
  $("switch").hidden = !shown;
  if (!shown) return;
  const more = shown.ports_total - shown.ports.length;
  write($("switch-more"), shown.error ?? (more > 0 ? `and ${more} more ports` : shown.ports_total ? "" : "no ports"));
  $("ports").hidden = !shown.ports.length;
  $("ports").tBodies[0].replaceChildren(...shown.ports.map((port) => {
    const others = port.addresses_total - port.addresses.length;
    const addresses = [...port.addresses, ...(others > 0 ? [`and ${others} more`] : [])].join(", ");
    const vlan = port.vlan ? `, VLAN ${port.vlan}` : "";
    const number = (text, title) => make("td", { class: "number", title }, text);
    return make("tr", {}, make("td", {}, `${port.number}: ${port.name}${vlan}`),
      number(rate(port.rate_in), `${port.frames_in} frames, ${bytes(port.bytes_in)}`),
      number(rate(port.rate_out), `${port.frames_out} frames, ${bytes(port.bytes_out)}`),
      number(String(port.dropped), "frames"), make("td", { class: "wide" }, addresses));
  }));
  const names = new Map(shown.ports.map((port) => [port.number, port.name]));
  const end = (number) => (names.get(number) ? `${number}: ${names.get(number)}` : String(number));
  const others = shown.pairs_total - shown.pairs.length;
  $("talks").hidden = !shown.pairs.length;
  write($("pairs-more"), others > 0 ? `and ${others} more` : "");
  $("pairs").tBodies[0].replaceChildren(...shown.pairs.map((pair) => make("tr", {}, make("td", {}, end(pair.from)),
    make("td", { class: "wide" }, end(pair.to)), make("td", { class: "number" }, pair.rate ? rate(pair.rate) : "–"),
    make("td", { class: "number", title: `${pair.frames} frames` }, bytes(pair.bytes)))));
}

/* One connection. */
const charts = [
  ["Out", "out", rate, "out"], ["In", "in", rate, "in"], ["Round trip", "rtt", time, "out"],
  ["Congestion window", "snd_cwnd", bytes, "out"], ["In flight", "in_flight", bytes, "out"], ["Sent again", "again", (n) => `${n} segments`, "in"],
];
function open(id) {
  view.open = id;
  history = [];
  $("charts").replaceChildren(...charts.map(([title, name, , colour]) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", `chart ${colour}`);
    return make("div", { "data-name": name }, make("h3", {}, title), make("p", { class: "more" }), svg);
  }));
  write($("detail-name"), id);
  write($("why"), "…");
  calm();
  $("detail").showModal();
  ask();
}
function drawOpened({ opened, number: reading }) {
  if (!view.open || !$("detail").open) return;
  $("kill").disabled = !opened;
  if (!opened) { write($("why"), `${view.open} has ended.`); return; }
  const { socket, why } = opened, info = socket?.tcp;
  write($("why"), why);
  if (!info) return;
  write($("detail-name"), `${socket.id}: ${socket.local} to ${socket.peer ?? "*"}`);
  const last = history.at(-1);
  if (last?.reading !== reading) {
    const seconds = last ? Math.max(0.001, (performance.now() - last.at) / 1e3) : 1;
    const since = (field) => (last ? Math.max(0, info[field] - last.info[field]) / seconds : 0);
    const values = { out: since("bytes_sent"), in: since("bytes_received"), rtt: info.rtt ?? 0, snd_cwnd: info.snd_cwnd,
      in_flight: info.in_flight, again: last ? info.total_retrans - last.info.total_retrans : 0 };
    history.push({ reading, at: performance.now(), info, values });
    history.splice(0, Math.max(0, history.length - 60));
  }
  charts.forEach(([, name, unit], n) => {
    const [, text, svg] = $("charts").children[n].children;
    const values = history.map((it) => it.values[name] ?? 0);
    write(text, `${unit(Math.round(values.at(-1)))}, at most ${unit(Math.round(Math.max(...values)))}`);
    chart(svg, values, 60);
  });
  const limited = Object.entries(info.limited ?? {}).sort((a, b) => b[1] - a[1]);
  bars($("limited"), limited.map(([name, micros]) => ({ name, part: micros, text: `${time(micros)}, ${percent(micros / Math.max(1, info.age))}` })));
  const flat = Object.entries(info).flatMap(([name, value]) => (name === "timers" ? Object.entries(value).map(([it, at]) => [`timer ${it}`, at]) : [[name, value]]));
  $("facts").replaceChildren(...flat.filter(([name, value]) => name !== "limited" && value !== null).map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, String(value)))));
}
function calm() {
  $("kill").classList.remove("sure");
  write($("kill"), "Reset the connection");
}
$("kill").addEventListener("click", async () => {
  if (!$("kill").classList.contains("sure")) {
    $("kill").classList.add("sure");
    write($("kill"), "Reset it: both programs see an error");
    return;
  }
  calm();
  try {
    const answer = await fetch(`kill?${view.open}`, { method: "POST", headers });
    if (!answer.ok) throw new Error(await answer.text());
    $("detail").close();
  } catch (error) {
    write($("why"), `It was not reset: ${error.message}`);
  }
  ask();
});
$("close").addEventListener("click", () => $("detail").close());
// It comes a moment later, when the next one may be open.
$("detail").addEventListener("close", () => { if (!$("detail").open) view.open = null; });

/* Asking. */
function find(text) {
  view.find = text;
  $("find").value = text;
  $("rows").scrollTop = 0;
  ask();
}
$("find").addEventListener("input", () => find($("find").value));
$("sort").addEventListener("change", () => { view.sort = ""; sortBy($("sort").value); });
function warn(text) {
  write($("notice"), text);
  $("notice").hidden = false;
}
/** Asks for the state, shows it, and asks again when the stack is read again. */
async function ask() {
  clearTimeout(timer);
  if (document.hidden) return;
  const mine = ++asks;
  let pause = 1000;
  try {
    const { from, rows } = wanted();
    const query = new URLSearchParams({ sort: view.sort, reversed: view.reversed ? "1" : "0", from, rows, find: view.find });
    if (view.open) query.set("open", view.open);
    const answer = await fetch(`state?${query}`, { headers, signal: AbortSignal.timeout(15000) });
    if (!answer.ok) throw new Error((await answer.text()).trim());
    const state = await answer.json();
    if (mine !== asks) return;
    show(state);
    pause = Math.max(100, (state.interval - state.age) / 1e3);
  } catch (error) {
    if (mine !== asks) return;
    warn(error.message || "The page has no connection to netstack page.");
  }
  timer = setTimeout(ask, pause);
}
document.addEventListener("visibilitychange", ask);
addEventListener("resize", ask);
drawHead();
ask();
