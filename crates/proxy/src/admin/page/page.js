// Sessions and their countdowns, from the events of this proxy.
import { Timeline } from "./timeline.js";

const SERVING = new Set(["signed in", "refreshing"]);
const find = (id) => document.getElementById(id);
const timeline = new Timeline({
  svg: find("timeline"), rows: find("rows"), summary: find("summary"), detail: find("detail"), title: find("storm-title"),
});

let sessions = [];
// What the proxy's clocks are ahead of this page's.
let wallAhead = 0;
let clockAhead = 0;
let held = false;
let latest = null;

/** An element with text, and what is in it. */
function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function seconds(milliseconds) {
  const whole = Math.max(0, milliseconds) / 1000;
  if (whole < 60) return `${whole.toFixed(1)} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(whole % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const ago = (at, now) => `${seconds(now - at)} ago`;

/** One row for each session, made once and then filled. */
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

/** Sets text only where it is another one, so that nothing is announced or drawn twice. */
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function show() {
  const now = Date.now() + wallAhead;
  const body = find("sessions");
  while (body.rows.length > sessions.length) body.deleteRow(-1);
  sessions.forEach((session, index) => {
    const [name, state, countdown, generation, refresh, failure] = rowOf(index).cells;
    put(name, session.name);
    const left = session.expires === null ? null : session.expires - now;
    const over = left !== null && left <= 0 && session.state === "signed in";
    const word = over ? "expired" : session.state;
    put(state.firstChild, word);
    state.firstChild.dataset.state = word;
    const [text, bar] = countdown.children;
    const running = SERVING.has(session.state) || left > 0;
    put(text, left === null ? (running && session.generation ? "unknown" : "\u2013") : seconds(left));
    bar.hidden = left === null || !session.lifetime;
    bar.setAttribute("aria-label", `Time left of session ${session.name}`);
    if (!bar.hidden) {
      bar.max = session.lifetime;
      bar.value = Math.max(0, Math.min(session.lifetime, left));
    }
    put(generation, session.generation === null ? "\u2013" : String(session.generation));
    put(refresh, refreshed(session.refresh, now));
    put(failure, failed(session, now));
  });
}

function refreshed(refresh, now) {
  if (!refresh) return "\u2013";
  const how = refresh.took === null ? "another process's" : `took ${refresh.took} ms`;
  return `${how}, ${ago(refresh.at, now)}`;
}

function failed(session, now) {
  const failure = session.failure || session.save;
  if (!failure) return "none";
  const again = failure.until > now ? `; tried again in ${seconds(failure.until - now)}` : "";
  const hint = failure.hint ? `; hint: ${failure.hint}` : "";
  return `${failure.words}, ${ago(failure.at, now)}${again}${hint}`;
}

function take(message) {
  const news = JSON.parse(message.data);
  wallAhead = news.wall - Date.now();
  clockAhead = news.now - performance.now();
  if (news.sessions) sessions = news.sessions;
  if (news.storm) {
    latest = latest && latest.number === news.storm.number ? merged(latest, news.storm) : news.storm;
    if (!held) timeline.show(latest);
  }
  show();
}

/** A storm with what is new of it. */
function merged(storm, news) {
  const lanes = new Map(storm.lanes.map((lane) => [lane.id, lane]));
  for (const lane of news.lanes) lanes.set(lane.id, lane);
  return { ...news, lanes: [...lanes.values()] };
}

const events = new EventSource("events");
events.addEventListener("snapshot", (message) => {
  latest = null;
  put(find("connection"), "live");
  take(message);
});
events.addEventListener("change", take);
events.addEventListener("error", () => {
  put(find("connection"), events.readyState === EventSource.CLOSED
    ? "not connected: the proxy has ended, or too many look at it; reload to try again"
    : "reconnecting");
});

find("hold").addEventListener("click", (event) => {
  held = !held;
  event.currentTarget.setAttribute("aria-pressed", String(held));
  if (!held && latest) timeline.show(latest);
});

// An open storm grows by itself, unless somebody wants nothing to move.
const still = matchMedia("(prefers-reduced-motion: reduce)");
function animate() {
  if (!held && !still.matches) timeline.grow(performance.now() + clockAhead);
  requestAnimationFrame(animate);
}
requestAnimationFrame(animate);
setInterval(show, 100);
