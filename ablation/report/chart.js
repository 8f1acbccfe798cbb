"use strict";
// The chart: a metric above, the learning rate below, along one axis. This file turns the data into curves and draws
// them; controls.js changes `state` and asks for a new drawing.
const Curves = (() => {
  const holder = document.getElementById("chart-data");
  if (!holder) return null;
  const data = JSON.parse(holder.textContent);
  const canvas = document.getElementById("canvas");
  const pen = canvas.getContext("2d");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3]];
  const FONT = "12px system-ui, sans-serif";
  const MARGIN = { left: 58, right: 14, top: 22, gap: 40, bottom: 38 };
  const cellsWithCurves = [...new Set(data.runs.map((run) => run.cell))].sort((a, b) => a - b);
  const state = {
    metric: 0, group: 0, along: "epoch", show: "mean", log: false,
    from: 0, to: 1, shown: new Set(), bright: null, cursor: null,
  };
  // steps an epoch of each cell: the least of its runs, as a run that has begun an epoch seems to have more
  const length = data.cells.map((_, i) => Math.min(...data.runs.filter((r) => r.cell === i && r.n).map((r) => r.n)));

  /** Epochs trained as a place on the axis, for a cell. */
  const place = (epoch, cell) => (state.along === "epoch" ? epoch : epoch * length[cell]);

  function runCurve(run) {
    const ys = run.y[state.metric] || [];
    const points = run.x.map((x, i) => ({ epoch: x, x: place(x, run.cell), y: ys[i] }));
    return { cell: run.cell, seed: run.seed, points: points.filter((p) => p.y != null && isFinite(p.x)) };
  }

  /** The mean over the runs of a cell that reached each epoch, with their range. */
  function meanCurve(cell, runs) {
    const at = new Map();
    for (const run of runs) {
      for (const p of runCurve(run).points) at.set(p.epoch, [...(at.get(p.epoch) || []), p.y]);
    }
    const points = [...at].sort((a, b) => a[0] - b[0]).map(([epoch, ys]) => ({
      epoch, x: place(epoch, cell), y: ys.reduce((a, b) => a + b) / ys.length,
      low: Math.min(...ys), high: Math.max(...ys), n: ys.length,
    }));
    return { cell, points };
  }

  function rateCurves(cell, runs) {
    const scale = state.along === "epoch" ? 1 / length[cell] : 1;
    return [...new Set(runs.map((run) => run.rates))].filter((i) => i >= 0).map((i) => {
      const [steps, ...groups] = data.rates[i];
      const points = steps.map((step, k) => ({ step, x: step * scale, y: groups[state.group][k] }));
      return { cell, rate: true, points: points.filter((p) => p.y != null && isFinite(p.x) && (!state.log || p.y > 0)) };
    });
  }

  let curves = { metric: [], rate: [] };

  /** Make the curves of the shown cells anew; the best cell comes last, so that it is drawn on top. */
  function build() {
    curves = { metric: [], rate: [] };
    for (const cell of cellsWithCurves.filter((i) => state.shown.has(i)).reverse()) {
      const runs = data.runs.filter((run) => run.cell === cell);
      curves.metric.push(...(state.show === "mean" ? [meanCurve(cell, runs)] : runs.map(runCurve)));
      curves.rate.push(...rateCurves(cell, runs));
    }
    curves.metric = curves.metric.filter((curve) => curve.points.length);
    curves.rate = curves.rate.filter((curve) => curve.points.length);
  }

  /** Where the axis begins and ends when nothing is zoomed. */
  function extent() {
    let to = 0;
    for (const curve of [...curves.metric, ...curves.rate]) to = Math.max(to, curve.points[curve.points.length - 1].x);
    return [0, to || 1];
  }

  function panels() {
    const height = canvas.clientHeight - MARGIN.top - MARGIN.gap - MARGIN.bottom;
    const above = Math.round(height * 0.66);
    const found = [
      { top: MARGIN.top, height: above, curves: curves.metric, log: false, title: data.metrics[state.metric] },
      { top: MARGIN.top + above + MARGIN.gap, height: height - above, curves: curves.rate, log: state.log,
        title: `learning rate of ${data.groups[state.group]}` },
    ].map(fit);
    pen.font = FONT;
    const widest = Math.max(...found.flatMap(marks).map((mark) => pen.measureText(mark.text).width));
    const left = Math.max(MARGIN.left, Math.ceil(widest) + 14);
    return found.map((panel) => Object.assign(panel, { left, width: canvas.clientWidth - left - MARGIN.right }));
  }

  /** The numbers beside a panel: where, and what is written there. */
  function marks(panel) {
    const [bottom, top] = panel.range;
    let found = ticks(bottom, top, panel.height / 44);
    if (panel.log) found = found.some((m) => !Number.isInteger(m)) ? found : found.filter(Number.isInteger);
    return found.map((m) => (panel.log ? 10 ** m : m)).map((value) => ({ value, text: number(value) }));
  }

  /** Give a panel its scales: the values in view fill it. */
  function fit(panel) {
    let low = Infinity, high = -Infinity;
    const see = (y) => { if (y < low) low = y; if (y > high) high = y; };
    for (const curve of panel.curves) {
      curve.points.forEach((p, i) => {
        const next = curve.points[i + 1], before = curve.points[i - 1];
        if ((next ? next.x : p.x) < state.from || (before ? before.x : p.x) > state.to) return;
        see(p.low ?? p.y);
        see(p.high ?? p.y);
      });
    }
    if (low > high) [low, high] = panel.log ? [0.001, 1] : [0, 1];
    const to = panel.log ? Math.log10 : (y) => y;
    let [bottom, top] = [to(low), to(high)];
    const pad = (top - bottom) * 0.06 || Math.abs(top) * 0.1 || 0.5;
    [bottom, top] = [low >= 0 && !panel.log ? Math.max(0, bottom - pad) : bottom - pad, top + pad];
    panel.x = (x) => panel.left + ((x - state.from) / (state.to - state.from)) * panel.width;
    panel.y = (y) => panel.top + (1 - (to(y) - bottom) / (top - bottom)) * panel.height;
    panel.range = [bottom, top];
    return panel;
  }

  /** About `most` round numbers from low to high. */
  function ticks(low, high, most) {
    const rough = (high - low) / Math.max(1, most);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough) || rough;
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
    return found;
  }

  const number = (value) => String(Number(value.toPrecision(4)));
  const theme = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function drawAxes(panel, last, ink) {
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const mark of marks(panel)) {
      const y = panel.y(mark.value);
      pen.strokeStyle = ink.faint;
      line(panel.left, y, panel.left + panel.width, y);
      pen.fillStyle = ink.muted;
      pen.fillText(mark.text, panel.left - 7, y);
    }
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const mark of ticks(state.from, state.to, panel.width / 80)) {
      pen.strokeStyle = ink.faint;
      line(panel.x(mark), panel.top, panel.x(mark), panel.top + panel.height);
      if (last) pen.fillText(number(mark), panel.x(mark), panel.top + panel.height + 6);
    }
    pen.fillStyle = ink.ink;
    pen.textAlign = "left";
    pen.textBaseline = "bottom";
    pen.font = `600 13px ${ink.font}`;
    pen.fillText(panel.title + (panel.curves.length ? "" : ": nothing recorded"), panel.left, panel.top - 5);
    pen.font = FONT;
    if (!last) return;
    pen.fillStyle = ink.muted;
    pen.textAlign = "right";
    const name = state.along === "epoch" ? "epochs trained" : "optimizer steps";
    pen.fillText(name, panel.left + panel.width, panel.top + panel.height + MARGIN.bottom - 1);
  }

  function line(x0, y0, x1, y1) {
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.lineTo(x1, y1);
    pen.stroke();
  }

  function drawCurve(panel, curve) {
    const cell = data.cells[curve.cell];
    const faded = state.bright !== null && state.bright !== curve.cell;
    pen.strokeStyle = pen.fillStyle = dark.matches ? cell.dark : cell.light;
    const points = curve.points;
    if (state.show === "mean" && !curve.rate && !faded) {
      pen.globalAlpha = state.bright === curve.cell ? 0.25 : 0.1;
      pen.beginPath();
      points.forEach((p) => pen.lineTo(panel.x(p.x), panel.y(p.high)));
      [...points].reverse().forEach((p) => pen.lineTo(panel.x(p.x), panel.y(p.low)));
      pen.fill();
    }
    pen.globalAlpha = faded ? 0.15 : 1;
    pen.lineWidth = state.bright === curve.cell ? 3 : state.shown.size > 12 ? 1.2 : 1.8;
    pen.setLineDash(DASHES[cell.dash]);
    pen.beginPath();
    points.forEach((p) => pen.lineTo(panel.x(p.x), panel.y(p.y)));
    pen.stroke();
    pen.setLineDash([]);
    if (points.length === 1) dot(panel, points[0], 3.5);
    pen.globalAlpha = 1;
  }

  function dot(panel, point, radius) {
    pen.beginPath();
    pen.arc(panel.x(point.x), panel.y(point.y), radius, 0, 2 * Math.PI);
    pen.fill();
  }

  function drawCursor(all, ink) {
    const { curve, point } = state.cursor;
    const panel = all[curve.rate ? 1 : 0];
    pen.strokeStyle = ink.muted;
    all.forEach((p) => line(panel.x(point.x), p.top, panel.x(point.x), p.top + p.height));
    pen.fillStyle = ink.ink;
    dot(panel, point, 5);
  }

  /** Draw everything, and say on the canvas what was drawn. */
  function draw() {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const ink = { ink: theme("--ink"), muted: theme("--muted"), faint: theme("--faint"), font: "system-ui, sans-serif" };
    const all = panels();
    all.forEach((panel, i) => {
      drawAxes(panel, i === all.length - 1, ink);
      pen.save();
      pen.beginPath();
      pen.rect(panel.left, panel.top, panel.width, panel.height);
      pen.clip();
      panel.curves.filter((c) => c.cell !== state.bright).forEach((curve) => drawCurve(panel, curve));
      panel.curves.filter((c) => c.cell === state.bright).forEach((curve) => drawCurve(panel, curve));
      pen.restore();
    });
    if (state.cursor) drawCursor(all, ink);
    const drawn = [...curves.metric, ...curves.rate];
    Object.assign(canvas.dataset, {
      curves: curves.metric.length, rates: curves.rate.length, from: state.from, to: state.to,
      points: drawn.reduce((sum, curve) => sum + curve.points.length, 0),
      drawn: canvas.dataset.drawn || Math.round(performance.now()),
    });
  }

  return { data, canvas, state, dark, cellsWithCurves, panels, marks, build, extent, draw, number,
    all: () => [...curves.rate, ...curves.metric] };
})();
