// The viewer: two versions of an image and a divider between them, blocks and bits above them.

const STEP = 1, LEAP = 10; // percent by arrow keys and by page keys

class Viewer {
  constructor(images, palette, metrics) {
    this.metrics = metrics;
    this.images = images;
    this.palette = palette;
    this.split = 50;
    images.forEach((image, n) => byId("image").append(element("option", { value: n }, image.name)));
    byId("image").addEventListener("change", () => this.choose(+byId("image").value));
    for (const side of ["left", "right"]) byId(side).addEventListener("change", () => this.showSides());
    for (const id of ["blocks", "heat"]) byId(id).addEventListener("change", () => this.drawOverlay());
    byId("zoom").addEventListener("change", () => this.fit());
    this.listen(byId("stage"), byId("divider"));
    new ResizeObserver(() => this.fit()).observe(byId("frame"));
    this.showLegends();
    this.choose(0);
  }

  listen(stage, divider) {
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      stage.setPointerCapture(event.pointerId);
      divider.focus({ preventScroll: true });
      this.moveTo(event);
    });
    stage.addEventListener("pointermove", (event) => {
      if (stage.hasPointerCapture(event.pointerId)) this.moveTo(event);
      this.readBlock(event);
    });
    stage.addEventListener("pointerleave", () => { byId("readout").textContent = "\u00a0"; });
    divider.addEventListener("keydown", (event) => {
      const moves = {
        ArrowLeft: -STEP, ArrowDown: -STEP, ArrowRight: STEP, ArrowUp: STEP,
        PageDown: -LEAP, PageUp: LEAP, Home: -100, End: 100,
      };
      if (!(event.key in moves)) return;
      event.preventDefault();
      this.divide(Math.round(this.split) + moves[event.key]);
    });
  }

  moveTo(event) {
    const box = byId("stage").getBoundingClientRect();
    this.divide(100 * (event.clientX - box.left) / box.width);
  }

  divide(percent) {
    this.split = clamp(percent, 0, 100);
    byId("stage").style.setProperty("--split", `${this.split}%`);
    byId("divider").setAttribute("aria-valuenow", Math.round(this.split));
    byId("divider").setAttribute("aria-valuetext", `${Math.round(this.split)} % of the left image`);
  }

  choose(number) {
    this.image = this.images[number];
    this.versions = [{ name: "Original", src: this.image.original }, ...this.image.versions];
    ["left", "right"].forEach((side, n) => {
      const before = byId(side).selectedIndex;
      byId(side).replaceChildren(...this.versions.map((v, k) => element("option", { value: k }, v.name)));
      byId(side).selectedIndex = before >= 0 && before < this.versions.length ? before : n;
    });
    this.divide(this.split);
    this.showShares();
    this.showSides();
    this.fit();
  }

  showSides() {
    for (const side of ["left", "right"]) {
      const version = this.versions[+byId(side).value];
      byId(`${side}-image`).src = version.src;
      byId(`${side}-image`).alt = `${this.image.name}: ${version.name}`;
      byId(`${side}-caption`).replaceChildren(...this.caption(version));
    }
  }

  caption(version) {
    const { width, height } = this.image;
    if (version.bpp === undefined) return [element("b", {}, version.name), element("span", {}, `${width} × ${height}`)];
    const setting = version.setting ? `, ${version.setting}` : "";
    const quality = this.metrics.filter((m) => version.values[m.name] !== null)
      .map((m) => measured(m, version.values[m.name]));
    return [
      element("b", {}, version.name + setting),
      element("span", {}, `${number(version.bpp, 4)} bpp · ${version.bytes.toLocaleString("en")} bytes`),
      element("span", {}, quality.join(" · ")),
    ];
  }

  /** The stage in the size asked for: to fit, or so many screen pixels per image pixel. */
  fit() {
    const zoom = byId("zoom").value, { width, height } = this.image;
    const stage = byId("stage");
    byId("frame").classList.toggle("zoomed", zoom !== "fit");
    stage.style.aspectRatio = `${width} / ${height}`;
    const room = `min(100%, ${(88 * width / height).toFixed(2)}vh)`;
    stage.style.width = zoom === "fit" ? room : `${zoom * width / window.devicePixelRatio}px`;
    this.drawOverlay();
  }

  drawOverlay() {
    const isBlocks = byId("blocks").checked, isHeat = byId("heat").checked;
    const canvas = byId("overlay"), box = byId("stage").getBoundingClientRect();
    canvas.width = Math.round(box.width * window.devicePixelRatio);
    canvas.height = Math.round(box.height * window.devicePixelRatio);
    const pen = canvas.getContext("2d"), scale = canvas.width / this.image.width;
    for (const block of isBlocks || isHeat ? this.image.blocks : []) {
      const [x, y, side, level, density] = block;
      const at = [Math.round(x * scale), Math.round(y * scale)];
      const size = [Math.round((x + side) * scale) - at[0], Math.round((y + side) * scale) - at[1]];
      if (isHeat) this.fill(pen, at, size, this.heat(density), isBlocks ? 0.9 : 0.82);
      else this.fill(pen, at, size, this.palette.levels[level], 0.34);
      if (isBlocks) this.outline(pen, at, size, this.palette.levels[level]);
    }
    byId("blocks-legend").classList.toggle("off", !isBlocks);
    byId("heat-legend").classList.toggle("off", !isHeat);
    const shown = [isBlocks && "the blocks of the partition", isHeat && "the bits per block"].filter(Boolean);
    canvas.setAttribute("aria-label", shown.length ? `Overlay: ${shown.join(" and ")}` : "No overlay");
  }

  fill(pen, [x, y], [width, height], rgb, opacity) {
    pen.fillStyle = `rgb(${rgb.map(Math.round).join(" ")} / ${opacity})`;
    pen.fillRect(x, y, width, height);
  }

  outline(pen, [x, y], [width, height], rgb) {
    pen.strokeStyle = `rgb(${rgb.map((c) => Math.round(0.75 * c)).join(" ")} / 0.95)`;
    pen.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
  }

  /** The color of so many bits per pixel: equal steps for equal ratios. */
  heat(density) {
    const stops = this.palette.bits, last = stops.length - 1;
    const octave = clamp(Math.log2(Math.max(density, this.palette.fewest) / this.palette.fewest), 0, last);
    const below = Math.min(Math.floor(octave), last - 1), part = octave - below;
    return stops[below].map((c, n) => (1 - part) * c + part * stops[below + 1][n]);
  }

  readBlock(event) {
    const box = byId("stage").getBoundingClientRect(), scale = this.image.width / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    const found = this.image.blocks.find(([bx, by, side]) => x >= bx && x < bx + side && y >= by && y < by + side);
    if (!found) return;
    const [, , side, , density] = found;
    byId("readout").textContent =
      `Block of ${side} × ${side}: about ${number(density * side * side, 0)} bits, ${number(density, 3)} bits per pixel`;
  }

  showShares() {
    const entries = this.palette.levels.map((rgb, level) => {
      const swatch = element("i"), side = 16 * 2 ** level;
      swatch.style.background = `rgb(${rgb.join(" ")})`;
      return element("span", {}, swatch, `${side} × ${side}: ${number(100 * this.image.shares[level], 0)} %`);
    });
    byId("blocks-legend").replaceChildren(...entries);
  }

  showLegends() {
    const heat = byId("heat-legend");
    const bar = element("div", { class: "bar" });
    bar.style.background = `linear-gradient(to right, ${this.palette.bits.map((c) => `rgb(${c.join(" ")})`).join(", ")})`;
    const ticks = ["1/64", "1/16", "1/4", "1", "4 bits per pixel"].map((text) => element("span", {}, text));
    heat.append(bar, element("div", { class: "ticks" }, ...ticks));
  }
}
