// Shows the sessions and their countdowns, from the proxy's event stream.
import { setText, Timeline } from "./timeline.js";

const SERVING = new Set(["signed in", "refreshing"]);
const find = (id) => document.getElementById(id);
const timeline = new Timeline({
  svg: find("timeline"), rows: find("rows"), summary: find("summary"), detail: find("detail"), title: find("storm-title"),
});

let sessions = [];
// Difference between the proxy's clocks and this page's clocks, in milliseconds.
let wallAhead = 0;
let clockAhead = 0;
let held = false;
let latest = null;

/** Creates an element with this text and these children. */
function element(name, text, ...children) {
  const node = document.createElement(name);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
}

function seconds(milliseconds) {
  const whole = Math.max(0, milliseconds) / 1000;
  if (whole < 60) return `${whole.toFixed(1)} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(whole % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const ago = (at, now) => `${seconds(now - at)} ago`;

/** Returns the table row of a session, and creates missing rows. */
function rowOf(index) {
  const body = find("sessions");
  while (body.rows.length <= index) {
    const row = body.insertRow();
    const name = element("th");
    name.scope = "row";
    row.append(name, element("td", "", element("span")));
    const countdown = element("td", "", element("span"), document.createElement("progress"));
    countdown.firstChild.className = "countdown";
    row.append(countdown, element("td"), element("td"), element("td"));
    row.cells[1].firstChild.className = "state";
  }
  return body.rows[index];
}

function show() {
  const now = Date.now() + wallAhead;
  const body = find("sessions");
  while (body.rows.length > sessions.length) body.deleteRow(-1);
  sessions.forEach((session, index) => {
    const [name, state, countdown, generation, refresh, failure] = rowOf(index).cells;
    setText(name, session.name);
    const left = session.expires === null ? null : session.expires - now;
    const isOver = left !== null && left <= 0 && session.state === "signed in";
    const label = isOver ? "expired" : session.state;
    setText(state.firstChild, label);
    state.firstChild.dataset.state = label;
    const [text, bar] = countdown.children;
    const running = SERVING.has(session.state) || left > 0;
    setText(text, left === null ? (running && session.generation ? "unknown" : "\u2013") : seconds(left));
    bar.hidden = left === null || !session.lifetime;
    bar.setAttribute("aria-label", `Time left of session ${session.name}`);
    if (!bar.hidden) {
      bar.max = session.lifetime;
      bar.value = Math.max(0, Math.min(session.lifetime, left));
    }
    setText(generation, session.generation === null ? "\u2013" : String(session.generation));
    setText(refresh, refreshed(session.refresh, now));
    setText(failure, failed(session, now));
  });
}

function refreshed(refresh, now) {
  if (!refresh) return "\u2013";
  const how = refresh.took === null ? "by another process" : `took ${refresh.took} ms`;
  return `${how}, ${ago(refresh.at, now)}`;
}

function failed(session, now) {
  const failure = session.failure || session.save;
  if (!failure) return "none";
  const nextAttempt = failure.until > now ? `; next attempt in ${seconds(failure.until - now)}` : "";
  const hint = failure.hint ? `; hint: ${failure.hint}` : "";
  return `${failure.message}, ${ago(failure.at, now)}${nextAttempt}${hint}`;
}

function applyUpdate(message) {
  const update = JSON.parse(message.data);
  wallAhead = update.wall - Date.now();
  clockAhead = update.now - performance.now();
  if (update.sessions) sessions = update.sessions;
  if (update.storm) {
    latest = latest && latest.number === update.storm.number ? merged(latest, update.storm) : update.storm;
    if (!held) timeline.show(latest);
  }
  show();
}

/** Merges an update into a storm. */
function merged(storm, update) {
  const lanes = new Map(storm.lanes.map((lane) => [lane.id, lane]));
  for (const lane of update.lanes) lanes.set(lane.id, lane);
  return { ...update, lanes: [...lanes.values()] };
}

const events = new EventSource("events");
events.addEventListener("snapshot", (message) => {
  latest = null;
  setText(find("connection"), "live");
  applyUpdate(message);
});
events.addEventListener("change", applyUpdate);
events.addEventListener("error", () => {
  setText(find("connection"), events.readyState === EventSource.CLOSED
    ? "not connected: the proxy has stopped, or this page has too many viewers; reload to try again"
    : "reconnecting");
});

find("hold").addEventListener("click", (event) => {
  held = !held;
  event.currentTarget.setAttribute("aria-pressed", String(held));
  if (!held && latest) timeline.show(latest);
});

// An open storm grows continuously, unless the user prefers reduced motion.
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
function animate() {
  if (!held && !reducedMotion.matches) timeline.grow(performance.now() + clockAhead);
  requestAnimationFrame(animate);
}
requestAnimationFrame(animate);
setInterval(show, 100);
