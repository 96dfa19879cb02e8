// Tables and cards, and the start of the page.

function row(cells, tag = "td") {
  return element("tr", {}, ...cells.map((cell) => (cell instanceof Node ? cell : element(tag, {}, String(cell)))));
}

function heading(text, attributes = {}) {
  return element("th", { scope: "col", ...attributes }, text);
}

function showPoints(curves, metrics) {
  const columns = metrics.flatMap((m) => (m.rescaled ? [m.title, `${m.label} ${m.curve_unit}`] : [m.title]));
  const titles = ["Codec", "Setting", "bpp", ...columns, "encode s", "decode s"];
  const cells = (p) => metrics.flatMap((m) => {
    const value = number(p.values[m.name], m.decimals);
    return m.rescaled ? [value, number(p.on_curve[m.name], 2)] : [value];
  });
  const rows = curves.flatMap((curve) => curve.points.map((p) => row([
    element("th", { scope: "row" }, curve.label), p.quality ?? "–", number(p.bpp, 4),
    ...cells(p), number(p.encoding_time, 2), number(p.decoding_time, 2),
  ])));
  byId("points").append(element("thead", {}, row(titles.map((t) => heading(t)))), element("tbody", {}, ...rows));
}

function percentage(value, name = "") {
  if (value === null) return element("td", {}, "–");
  const cell = element("td", {}, element("span", { class: value < 0 ? "saved" : "lost" }, signed(value)));
  if (name) cell.append(element("small", {}, name));
  return cell;
}

function showRates(rates) {
  byId("rates-section").hidden = false;
  byId("reference").textContent = rates.reference;
  const titles = ["Codec", "Quality", "Mean curves", "Best case", "Worst case", "Average", "Images", "Overlap"];
  const body = element("tbody");
  for (const r of rates.rows) {
    const cells = [element("th", { scope: "row" }, r.label), r.metric, percentage(r.set)];
    cells.push(percentage(r.best, r.best_name), percentage(r.worst, r.worst_name), percentage(r.average));
    cells.push(r.images, r.overlap === null ? "–" : `${Math.round(100 * r.overlap)} %`);
    body.append(row(cells));
    for (const [what, why] of Object.entries(r.refused)) {
      byId("refusals").append(element("li", {}, `${r.label}, ${r.metric}, ${what}: refused, ${why}.`));
    }
    for (const what of r.left_out) {
      byId("refusals").append(element("li", {}, `${r.label}, ${r.metric}, set: leaves out ${what}.`));
    }
  }
  byId("rates").append(element("thead", {}, row(titles.map((t) => heading(t)))), body);
}

function showSettings(curves) {
  for (const curve of curves) {
    const list = element("dl");
    for (const [key, value] of Object.entries(curve.settings)) {
      list.append(element("dt", {}, key), element("dd", {}, value));
    }
    byId("settings").append(element("article", { class: "card" },
      element("h3", {}, curve.label), element("p", {}, curve.description), list));
  }
}

const data = JSON.parse(byId("data").textContent);
// Hidden until here, so that nothing moves while the data arrives.
for (const id of ["main", "footer"]) byId(id).hidden = false;
showCurves(data.curves, data.metrics);
showPoints(data.curves, data.metrics);
if (data.rates) showRates(data.rates);
if (data.images.length) {
  byId("viewer-section").hidden = false;
  byId("viewer-note").textContent = data.viewer_note;
  new Viewer(data.images, data.palette, data.metrics);
}
showSettings(data.curves);
