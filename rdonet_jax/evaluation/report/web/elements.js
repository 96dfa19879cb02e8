// Elements and numbers: what all parts of the page are made with.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; text is never read as HTML. */
function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function drawn(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function byId(id) {
  return document.getElementById(id);
}

/** A number with so many decimals, a dash for one that is not known. */
function number(value, decimals) {
  return value === null || value === undefined ? "–" : value.toFixed(decimals).replace("-", "−");
}

/** A metric's value in words, with that on its curve's scale where that is another. */
function measured(metric, value, onCurve = null) {
  const shown = number(value, metric.decimals);
  const words = metric.unit ? `${shown} ${metric.unit} ${metric.label}` : `${metric.label} ${shown}`;
  return metric.rescaled && onCurve !== null ? `${words} (${number(onCurve, 2)} ${metric.curve_unit})` : words;
}

function signed(value) {
  return (value > 0 ? "+" : "") + number(value, 1) + " %";
}

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

function color(index) {
  return `var(--c${index % 8})`;
}

/** Outlines of markers around the origin, by curve, so that color does not tell alone. */
const MARKERS = [
  "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z",
  "M-3.6-3.6h7.2v7.2h-7.2Z",
  "M0-4.8L4.8 0L0 4.8L-4.8 0Z",
  "M0-4.8L4.6 3.6H-4.6Z",
  "M0 4.8L4.6-3.6H-4.6Z",
  "M-1.6-4.6h3.2v3h3v3.2h-3v3h-3.2v-3h-3v-3.2h3Z",
  "M-4.4-3L-3-4.4L0-1.4L3-4.4L4.4-3L1.4 0L4.4 3L3 4.4L0 1.4L-3 4.4L-4.4 3L-1.4 0Z",
  "M0-5L1.5-1.6L4.8-1.5L2.3.8L3 4.2L0 2.4L-3 4.2L-2.3.8L-4.8-1.5L-1.5-1.6Z",
];

function marker(index, x = 0, y = 0) {
  const path = MARKERS[index % MARKERS.length];
  return drawn("path", { d: path, transform: `translate(${x} ${y})`, fill: color(index) });
}
