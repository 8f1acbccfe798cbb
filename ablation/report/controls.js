// What the reader does with the chart: choose, zoom, move, read, highlight.
if (Curves) (() => {
  const { data, canvas, state, panels, build, extent, draw } = Curves;
  const byId = (id) => document.getElementById(id);
  const readout = byId("readout");
  const hint = readout.textContent;
  const FEW = 6;
  let pending = 0;

  /** Draw before the next frame, once however often it is asked. */
  function redraw() {
    if (!pending) pending = requestAnimationFrame(() => { pending = 0; draw(); });
  }

  function reset() {
    [state.from, state.to] = extent();
    redraw();
  }

  /** The view from `from` to `to`, kept inside what there is and no narrower than a thousandth of it. */
  function view(from, to) {
    const [start, end] = extent();
    const width = Math.min(end - start, Math.max((end - start) / 1000, to - from));
    const middle = (from + to) / 2;
    state.from = Math.min(Math.max(middle - width / 2, start), end - width);
    state.to = state.from + width;
    redraw();
  }

  function zoom(factor, at = (state.from + state.to) / 2) {
    view(at - (at - state.from) * factor, at + (state.to - at) * factor);
  }

  const move = (part) => view(state.from + part * (state.to - state.from), state.to + part * (state.to - state.from));

  /** Curves anew after a choice; the same part of the axis stays in view. */
  function rebuild(keep = true) {
    const [, before] = extent();
    const part = [state.from / before, state.to / before];
    build();
    const [, after] = extent();
    [state.from, state.to] = keep ? part.map((p) => p * after) : [0, after];
    read(null);
  }

  function read(cursor) {
    state.cursor = cursor;
    readout.textContent = cursor ? describe(cursor) : hint;
    bright(cursor ? cursor.curve.cell : null);
  }

  function describe({ curve, point }) {
    const cell = data.cells[curve.cell];
    const name = cell.label + (cell.rank ? ` (rank ${cell.rank})` : "") + (curve.seed == null ? "" : `, seed ${curve.seed}`);
    if (curve.rate) {
      return `${name}: learning rate of ${data.groups[state.group]} ${Curves.number(point.y)} at step ${point.step}`;
    }
    const [y, low, high] = [point.y, point.low, point.high].map(Curves.number);
    const value = `${data.metrics[state.metric]} ${y}`;
    const range = point.n > 1 ? ` (${low} to ${high} over ${point.n} seeds)` : "";
    return `${name}: ${value}${range} after epoch ${point.epoch}`;
  }

  function bright(cell) {
    state.bright = cell;
    for (const button of byId("legend").children) button.classList.toggle("bright", Number(button.value) === cell);
    redraw();
  }

  /** The point in view nearest to a place on the canvas, within reach. */
  function nearest(x, y) {
    let best = null, least = 40 ** 2;
    for (const panel of panels()) {
      if (y < panel.top - 8 || y > panel.top + panel.height + 8) continue;
      for (const curve of panel.curves) {
        for (const point of curve.points) {
          if (point.x < state.from || point.x > state.to) continue;
          const far = (panel.x(point.x) - x) ** 2 + (panel.y(point.y) - y) ** 2;
          if (far < least) [best, least] = [{ curve, point }, far];
        }
      }
    }
    return best;
  }

  /** Move the cursor to the next point of its curve (dx) or to the next curve (dy). */
  function step(dx, dy) {
    const all = Curves.all();
    if (!all.length) return;
    if (!state.cursor) return read({ curve: all[all.length - 1], point: all[all.length - 1].points[0] });
    const { curve, point } = state.cursor;
    const next = all[(all.indexOf(curve) + dy + all.length) % all.length];
    let i = curve.points.indexOf(point);
    if (dy) {
      i = next.points.reduce((b, p, k) => (Math.abs(p.x - point.x) < Math.abs(next.points[b].x - point.x) ? k : b), 0);
    }
    i = Math.min(Math.max(i + dx, 0), next.points.length - 1);
    const to = next.points[i];
    if (to.x < state.from || to.x > state.to) view(to.x - (state.to - state.from) / 2, to.x + (state.to - state.from) / 2);
    read({ curve: next, point: to });
  }

  function keys(event) {
    const shift = event.shiftKey;
    const act = {
      ArrowLeft: () => (shift ? move(-0.2) : step(-1, 0)),
      ArrowRight: () => (shift ? move(0.2) : step(1, 0)),
      ArrowUp: () => step(0, 1),
      ArrowDown: () => step(0, -1),
      "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1 / 0.7),
      0: reset, Escape: () => read(null),
    }[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  }

  function pointer() {
    let held = null;
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const axis = (x) => state.from + ((x - panels()[0].left) / panels()[0].width) * (state.to - state.from);
    canvas.addEventListener("wheel", (event) => {
      const [start, end] = extent();
      if (event.deltaY > 0 && state.from <= start && state.to >= end) return; // all in view: the page scrolls
      event.preventDefault();
      zoom(1.2 ** Math.sign(event.deltaY), axis(at(event)[0]));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      held = { x: at(event)[0], from: state.from, to: state.to };
      if (event.isTrusted) canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const [x, y] = at(event);
      if (!held) return read(nearest(x, y));
      const shift = ((held.x - x) / panels()[0].width) * (held.to - held.from);
      view(held.from + shift, held.to + shift);
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { held = null; });
    canvas.addEventListener("pointerleave", () => { if (!held) read(null); });
    canvas.addEventListener("dblclick", reset);
  }

  function swatch(cell) {
    const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    picture.setAttribute("viewBox", "0 0 30 10");
    picture.setAttribute("aria-hidden", "true");
    const drawn = document.createElementNS("http://www.w3.org/2000/svg", "line");
    Object.entries({ x1: 1, x2: 29, y1: 5, y2: 5 }).forEach(([name, value]) => drawn.setAttribute(name, value));
    drawn.setAttribute("stroke-dasharray", ["", "7 4", "2 3", "9 3 2 3"][cell.dash]);
    picture.style.setProperty("--light", cell.light);
    picture.style.setProperty("--dark", cell.dark);
    picture.append(drawn);
    return picture;
  }

  function legend() {
    for (const i of Curves.cellsWithCurves) {
      const cell = data.cells[i];
      const button = document.createElement("button");
      button.type = "button";
      button.value = i;
      button.append(swatch(cell), cell.label);
      button.addEventListener("click", () => {
        if (!state.shown.delete(i)) state.shown.add(i);
        choose();
      });
      for (const name of ["pointerenter", "focus"]) button.addEventListener(name, () => state.shown.has(i) && bright(i));
      for (const name of ["pointerleave", "blur"]) button.addEventListener(name, () => bright(null));
      byId("legend").append(button);
    }
    for (const button of document.querySelectorAll("[data-select]")) {
      button.addEventListener("click", () => select(button.dataset.select));
    }
  }

  function select(which) {
    const most = { few: FEW, all: Infinity, none: 0 }[which];
    state.shown = new Set(Curves.cellsWithCurves.slice(0, most));
    choose();
  }

  function choose(keep = true) {
    for (const button of byId("legend").children) button.setAttribute("aria-pressed", state.shown.has(Number(button.value)));
    rebuild(keep);
  }

  function start() {
    data.metrics.forEach((name, i) => {
      if (data.runs.some((run) => run.y[i])) byId("metric").add(new Option(name, i));
    });
    data.groups.forEach((name, i) => byId("group").add(new Option(name, i)));
    byId("metric").addEventListener("change", (event) => { state.metric = Number(event.target.value); rebuild(); });
    byId("group").addEventListener("change", (event) => { state.group = Number(event.target.value); rebuild(); });
    byId("along").addEventListener("change", (event) => { state.along = event.target.value; rebuild(); });
    byId("show").addEventListener("change", (event) => { state.show = event.target.value; rebuild(); });
    byId("log").addEventListener("change", (event) => { state.log = event.target.checked; rebuild(); });
    byId("reset").addEventListener("click", reset);
    byId("in").addEventListener("click", () => zoom(0.7));
    byId("out").addEventListener("click", () => zoom(1 / 0.7));
    canvas.addEventListener("keydown", keys);
    pointer();
    legend();
    state.metric = Number(byId("metric").value || 0);
    state.shown = new Set(Curves.cellsWithCurves.slice(0, Curves.cellsWithCurves.length > 2 * FEW ? FEW : Infinity));
    choose(false);
    new ResizeObserver(redraw).observe(canvas);
    Curves.dark.addEventListener("change", redraw);
    draw();
  }

  start();
})();
