// Draws the last storm: a lane for each request, and the refreshes below the lanes.

const SVG = "http://www.w3.org/2000/svg";
/** Least width of the drawing. A narrower page scales the drawing down. */
const MIN_WIDTH = 300;
const AXIS_HEIGHT = 22;
const REFRESH_HEIGHT = 26;
const MARGIN = 12;

export class Timeline {
  #elements;
  #storm = null;
  #lanes = new Map();
  #bars;
  #group;
  #end = 0;
  /** Width in pixels of the page, so that the text has the page's size. */
  #width = MIN_WIDTH;
  /** The lane that the Tab key selects. */
  #current = 0;

  constructor(elements) {
    this.#elements = elements;
    elements.svg.setAttribute("hidden", "");
    this.#group = shape("g", {});
    this.#bars = shape("g", {});
    elements.svg.append(this.#group, this.#bars);
    // The listeners are on the parent, because an SVG element with a focus listener is focusable.
    const parent = elements.svg.parentElement;
    parent.addEventListener("keydown", (event) => this.#key(event));
    parent.addEventListener("focusin", (event) => this.#focused(event.target));
    new ResizeObserver(() => this.#storm && this.#draw()).observe(parent);
  }

  /** Draws a storm or its newest state. */
  show(storm) {
    if (!this.#storm || this.#storm.number !== storm.number) this.#clear();
    this.#storm = storm;
    this.#end = Math.max(storm.ended ?? 0, ...times(storm));
    this.#draw();
    this.#describe();
  }

  /** Draws an open storm up to this moment. */
  grow(now) {
    if (!this.#storm || this.#storm.ended !== null || now <= this.#end) return;
    this.#end = now;
    this.#draw();
  }

  #clear() {
    this.#group.replaceChildren();
    this.#elements.rows.replaceChildren();
    this.#lanes.clear();
    this.#current = 0;
    this.#elements.detail.textContent = "";
  }

  #draw() {
    const storm = this.#storm;
    const pitch = Math.max(4, Math.min(16, 400 / Math.max(1, storm.lanes.length)));
    const height = storm.lanes.length * pitch + REFRESH_HEIGHT + AXIS_HEIGHT + 8;
    const { svg } = this.#elements;
    svg.removeAttribute("hidden");
    this.#width = Math.max(MIN_WIDTH, svg.clientWidth);
    svg.setAttribute("viewBox", `0 0 ${this.#width} ${height}`);
    const span = Math.max(1, this.#end - storm.began);
    const x = (at) => MARGIN + ((at - storm.began) / span) * (this.#width - 2 * MARGIN);
    storm.lanes.forEach((lane, index) => this.#lane(lane, 4 + index * pitch, pitch, x));
    this.#drawRefreshes(storm, 4 + storm.lanes.length * pitch, x, span);
  }

  #lane(lane, y, pitch, x) {
    let group = this.#lanes.get(lane.id);
    if (!group) {
      group = shape("g", { class: "lane", role: "img", tabindex: lane.id === this.#current ? 0 : -1 });
      group.dataset.id = lane.id;
      this.#lanes.set(lane.id, group);
      this.#group.append(group);
    }
    group.setAttribute("aria-label", laneText(lane, this.#storm.began));
    const thick = pitch * 0.6;
    const middle = y + pitch / 2;
    const drawn = [shape("rect", { class: "hit", x: 1, y, width: this.#width - 2, height: pitch })];
    const marks = [];
    lane.steps.forEach(([kind, at, status], index) => {
      const until = lane.steps[index + 1]?.[1] ?? this.#end;
      const [from, to] = [x(at), x(until)];
      if (kind === "sent" || kind === "replayed") {
        const [top, width] = [middle - thick / 2, Math.max(2, to - from)];
        drawn.push(shape("rect", { class: kind, x: from, y: top, width, height: thick }));
      } else if (kind === "waiting") {
        drawn.push(shape("path", { class: kind, d: `M${from} ${middle}H${Math.max(from + 1, to)}` }));
      } else if (kind === "refused") {
        const r = Math.min(4, thick / 2 + 1);
        const cross = `M${from - r} ${middle - r}l${2 * r} ${2 * r}M${from + r} ${middle - r}l${-2 * r} ${2 * r}`;
        marks.push(shape("path", { class: kind, d: cross }));
      } else if (kind === "answered") {
        const failed = status === 401 || status >= 500 ? " failed" : "";
        marks.push(shape("circle", { class: kind + failed, cx: from, cy: middle, r: Math.min(4, thick / 2 + 1) }));
      } else if (kind === "left") {
        marks.push(shape("rect", { class: kind, x: from - 2, y: middle - thick / 2, width: 4, height: thick }));
      }
    });
    group.replaceChildren(...drawn, ...marks);
  }

  /** Draws the refreshes and the axis below them. */
  #drawRefreshes(storm, top, x, span) {
    const shapes = [];
    for (const refresh of storm.refreshes) {
      const [from, to] = [x(Math.max(refresh.began, storm.began)), x(refresh.ended ?? this.#end)];
      const open = refresh.ended === null ? " open" : "";
      shapes.push(shape("rect", {
        class: `refresh${open}`, role: "img", x: from, y: top + 6, width: Math.max(3, to - from), height: 12,
        "aria-label": refreshText(refresh, storm.began),
      }));
    }
    const bottom = top + REFRESH_HEIGHT;
    shapes.push(shape("path", { class: "axis", d: `M${MARGIN} ${bottom}H${this.#width - MARGIN}` }));
    const step = tick(span / Math.max(2, this.#width / 160));
    for (let at = 0; at <= span; at += step) {
      const position = x(storm.began + at);
      const anchor = at === 0 ? "start" : position > this.#width - 60 ? "end" : "middle";
      shapes.push(shape("path", { class: "axis", d: `M${position} ${bottom}v5` }));
      const text = shape("text", { x: position, y: bottom + 18, "text-anchor": anchor, "aria-hidden": "true" });
      text.textContent = `${at} ms`;
      shapes.push(text);
    }
    this.#bars.replaceChildren(...shapes);
  }

  /** Writes the summary and the table. */
  #describe() {
    const { summary, rows, title } = this.#elements;
    const storm = this.#storm;
    setText(summary, summaryText(storm));
    setText(title, `The last storm: session ${storm.session}`);
    for (const lane of storm.lanes) {
      let row = rows.rows[lane.id];
      while (!row) {
        const added = rows.insertRow();
        for (let cell = 0; cell < 8; cell += 1) added.insertCell();
        row = rows.rows[lane.id];
      }
      const at = (kind) => lane.steps.filter(([step]) => step === kind)
        .map(([, time]) => (time - storm.began).toFixed(1)).join(", ");
      const last = lane.steps.at(-1);
      const status = last?.[0] === "answered" ? String(last[2]) : last?.[0] === "left" ? "caller left" : "";
      const cells = [`${lane.method} ${lane.id + 1}`, lane.route, at("sent"), at("refused"), at("waiting"),
        at("replayed"), at("answered"), status];
      cells.forEach((text, index) => setText(row.cells[index], text));
    }
  }

  #key(event) {
    const count = this.#storm?.lanes.length ?? 0;
    const to = {
      ArrowDown: this.#current + 1, ArrowUp: this.#current - 1, Home: 0, End: count - 1,
    }[event.key];
    if (to === undefined || count === 0) return;
    event.preventDefault();
    this.#lanes.get(Math.max(0, Math.min(count - 1, to)))?.focus();
  }

  #focused(target) {
    const lane = target.closest(".lane");
    if (!lane) return;
    this.#lanes.get(this.#current)?.setAttribute("tabindex", "-1");
    this.#current = Number(lane.dataset.id);
    lane.setAttribute("tabindex", "0");
    setText(this.#elements.detail, lane.getAttribute("aria-label"));
  }
}

function shape(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

/** Sets the text only if it differs, so that screen readers do not announce it again. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function* times(storm) {
  yield storm.began;
  for (const lane of storm.lanes) for (const [, at] of lane.steps) yield at;
  for (const refresh of storm.refreshes) yield refresh.ended ?? refresh.began;
}

/** Returns the smallest round step that is at least this long. */
function tick(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  return Math.max(1, step);
}

function laneText(lane, began) {
  const steps = lane.steps.filter(([kind]) => kind !== "arrived").map(([kind, at, status]) => {
    const when = `at ${(at - began).toFixed(1)} ms`;
    if (kind === "answered") return `answered ${status} ${when}`;
    return kind === "left" ? `its caller left ${when}` : `${kind} ${when}`;
  });
  return `Request ${lane.id + 1}, ${lane.method} on route ${lane.route}: ${steps.join(", ")}`;
}

function refreshText(refresh, began) {
  const from = `Refresh: began at ${(refresh.began - began).toFixed(1)} ms`;
  if (refresh.ended === null) return `${from}, in progress`;
  return `${from}, ${refresh.outcome} after ${(refresh.ended - refresh.began).toFixed(1)} ms`;
}

function summaryText(storm) {
  const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;
  const state = storm.ended === null ? "In progress: " : "";
  const refreshes = storm.refreshes.length === 1
    ? `1 refresh${storm.refreshes[0].ended === null ? "" : ` (${storm.refreshes[0].outcome})`}`
    : `${storm.refreshes.length} refreshes`;
  const parts = [
    count(storm.requests, "request"), refreshes, `${storm.refused} refused`, `${storm.waited} waited`,
    `${storm.replayed} replayed`, `${storm.answered} answered`,
  ];
  if (storm.failed) parts.push(`${storm.failed} of them with a failure`);
  if (storm.left) parts.push(count(storm.left, "caller") + " left");
  if (storm.more) parts.push(`${storm.more} not drawn`);
  return `${state}${parts.join(", ")}.`;
}
