// Rate-distortion charts: lines with markers, values by pointer and by arrow keys.

const MARGIN = { left: 44, right: 14, top: 12, bottom: 42 };
const NEAR = 40; // pixels from a point within which the pointer reads it

/** Round numbers from low to high, about `count` of them. */
function linearTicks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((f) => f * power).find((s) => s >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high * (1 + 1e-9); k++) ticks.push(+(k * step).toPrecision(6));
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++) {
    for (const f of [1, 2, 5]) if (f * 10 ** p >= low && f * 10 ** p <= high) ticks.push(+(f * 10 ** p).toPrecision(6));
  }
  return ticks;
}

class Chart {
  /** `curves` as in the data; `metric` is the one to draw. */
  constructor(place, curves, metric) {
    const title = metric.curve_title;
    this.curves = curves;
    this.metric = metric;
    this.hidden = new Set();
    this.isLog = false;
    this.at = null; // [curve, point] that is read
    this.tip = element("div", { class: "tip", role: "status", hidden: "" });
    this.plot = element("div", {
      class: "plot", tabindex: "0", role: "group",
      "aria-label": `${title} over bits per pixel. Arrow keys go along a curve and between curves.`,
    }, this.tip);
    place.append(element("figure", { class: "chart" }, element("figcaption", {}, title), this.plot));
    this.plot.addEventListener("pointermove", (event) => this.readNearest(event));
    this.plot.addEventListener("pointerleave", () => this.read(null));
    this.plot.addEventListener("keydown", (event) => this.step(event));
    this.plot.addEventListener("blur", () => this.read(null));
    new ResizeObserver(() => this.draw()).observe(this.plot);
    this.draw();
  }

  value(point) {
    return point.on_chart[this.metric.name][1];
  }

  rate(point) {
    return point.on_chart[this.metric.name][0];
  }

  points(index) {
    const drawn = this.curves[index].points.filter((p) => p.on_chart[this.metric.name] !== null);
    return drawn.sort((a, b) => this.rate(a) - this.rate(b));
  }

  visible() {
    return this.curves.map((_, n) => n).filter((n) => !this.hidden.has(n) && this.points(n).length);
  }

  scales() {
    const points = this.visible().flatMap((n) => this.points(n));
    const rates = points.map((p) => this.rate(p));
    const values = points.map((p) => this.value(p));
    const [low, high] = this.isLog
      ? [Math.min(...rates) * 0.9, Math.max(...rates) * 1.1] : [0, Math.max(...rates) * 1.04];
    const least = this.metric.curve_unit === "dB" ? 0.5 : 0.02 * Math.max(...values.map(Math.abs)) || 0.5;
    const room = Math.max(least, 0.05 * (Math.max(...values) - Math.min(...values)));
    const [bottom, top] = [Math.min(...values) - room, Math.max(...values) + room];
    const { width, height } = this.plot.getBoundingClientRect();
    const wide = width - MARGIN.left - MARGIN.right, tall = height - MARGIN.top - MARGIN.bottom;
    const part = this.isLog ? (r) => Math.log(r / low) / Math.log(high / low) : (r) => r / high;
    return {
      width, height, low, high, bottom, top,
      x: (rate) => MARGIN.left + wide * part(rate),
      y: (value) => MARGIN.top + tall * (top - value) / (top - bottom),
    };
  }

  draw() {
    this.drawing?.remove();
    this.placed = [];
    if (!this.visible().length) return;
    const s = this.scales();
    this.drawing = drawn("svg", { "aria-hidden": "true" }, ...this.axes(s));
    for (const n of this.visible()) {
      const places = this.points(n).map((p) => [s.x(this.rate(p)), s.y(this.value(p))]);
      const line = drawn("polyline", { class: "curve", points: places.join(" "), stroke: color(n) });
      if (this.curves[n].estimate) line.setAttribute("stroke-dasharray", "5 4");
      this.drawing.append(drawn("g", { "data-curve": n }, line, ...places.map(([x, y]) => marker(n, x, y))));
      places.forEach(([x, y], k) => this.placed.push({ curve: n, point: k, x, y }));
    }
    this.plot.prepend(this.drawing);
    this.read(this.at);
  }

  axes(s) {
    const parts = [];
    const right = s.width - MARGIN.right, base = s.height - MARGIN.bottom;
    const rates = this.isLog ? logTicks(s.low, s.high) : linearTicks(s.low, s.high, s.width < 420 ? 5 : 8);
    for (const rate of rates) {
      const x = s.x(rate);
      parts.push(drawn("line", { class: "grid", x1: x, x2: x, y1: MARGIN.top, y2: base }));
      parts.push(drawn("text", { x, y: base + 17, "text-anchor": "middle" }, String(rate)));
    }
    for (const value of linearTicks(s.bottom, s.top, 9)) {
      const y = s.y(value);
      parts.push(drawn("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y, y2: y }));
      parts.push(drawn("text", { x: MARGIN.left - 7, y: y + 4, "text-anchor": "end" }, String(value)));
    }
    parts.push(drawn("line", { class: "axis", x1: MARGIN.left, x2: right, y1: base, y2: base }));
    parts.push(drawn("text", { x: right, y: s.height - 5, "text-anchor": "end" }, "bits per pixel"));
    parts.push(drawn("text", { x: 4, y: s.height - 5 }, this.metric.curve_unit));
    return parts;
  }

  readNearest(event) {
    const box = this.plot.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    let best = null, least = NEAR;
    for (const p of this.placed) {
      const distance = Math.hypot(p.x - x, p.y - y);
      if (distance < least) [best, least] = [p, distance];
    }
    this.read(best && [best.curve, best.point]);
  }

  step(event) {
    const [along, across] = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (event.key === "Escape") return this.read(null);
    if (!along && !across) return;
    event.preventDefault();
    const visible = this.visible();
    if (!visible.length) return;
    if (!this.at) return this.read([visible[0], 0]);
    const [curve, point] = this.at;
    const next = visible[(visible.indexOf(curve) + across + visible.length) % visible.length];
    if (!across) return this.read([curve, clamp(point + along, 0, this.points(curve).length - 1)]);
    const rate = this.rate(this.points(curve)[point]);
    const near = this.points(next).map((p) => Math.abs(Math.log(this.rate(p) / rate)));
    this.read([next, near.indexOf(Math.min(...near))]);
  }

  /** Shows the values of a point, or none for null. */
  read(at) {
    this.at = at && !this.hidden.has(at[0]) ? at : null;
    this.drawing?.querySelector(".ring")?.remove();
    for (const group of this.drawing?.querySelectorAll("[data-curve]") ?? []) {
      group.classList.toggle("faded", Boolean(this.at) && +group.dataset.curve !== this.at[0]);
    }
    this.tip.hidden = !this.at;
    if (!this.at) return;
    const [curve, point] = this.at;
    const place = this.placed.find((p) => p.curve === curve && p.point === point);
    this.drawing.append(drawn("circle", { class: "ring", cx: place.x, cy: place.y, r: 8 }));
    this.tell(this.curves[curve], this.points(curve)[point]);
    const { width, height } = this.plot.getBoundingClientRect();
    const left = place.x + 14 + this.tip.offsetWidth > width ? place.x - 14 - this.tip.offsetWidth : place.x + 14;
    this.tip.style.left = `${clamp(left, 0, Math.max(0, width - this.tip.offsetWidth))}px`;
    this.tip.style.top = `${clamp(place.y + 12, 0, height - this.tip.offsetHeight)}px`;
  }

  tell(curve, point) {
    const setting = point.quality === null ? "" : ` · ${curve.varied} ${point.quality}`;
    this.tip.replaceChildren(
      element("b", {}, curve.label + setting),
      `${number(this.rate(point), 4)} bpp · `,
      measured(this.metric, point.values[this.metric.name], this.value(point)),
    );
  }
}

/** A chart for each metric, their legend and the switch of the axis. */
function showCurves(curves, metrics) {
  const charts = metrics.map((metric) => new Chart(byId("charts"), curves, metric));
  curves.forEach((curve, n) => {
    const key = drawn("svg", { width: 22, height: 12, viewBox: "-11 -6 22 12", "aria-hidden": "true" },
      drawn("line", { x1: -11, x2: 11, y1: 0, y2: 0, stroke: color(n), "stroke-width": 2 }), marker(n));
    const button = element("button", { type: "button", "aria-pressed": "true" }, key, curve.label);
    button.addEventListener("click", () => {
      const isShown = button.getAttribute("aria-pressed") === "true";
      button.setAttribute("aria-pressed", String(!isShown));
      for (const chart of charts) {
        isShown ? chart.hidden.add(n) : chart.hidden.delete(n);
        chart.read(null);
        chart.draw();
      }
    });
    byId("legend").append(button);
  });
  byId("log-rate").addEventListener("change", (event) => {
    for (const chart of charts) {
      chart.isLog = event.target.checked;
      chart.draw();
    }
  });
}
