// A workflow as boxes and lines, where its author put them; states are said by colour, sign and word.
// Elements are compiled each for itself: they hand in React's createElement as `h`.
const SIGNS = { running: "▶", waiting: "?", done: "✓", failed: "✗", skipped: "–", unknown: "!", cancelled: "–" };
const WORDS = { running: "runs", waiting: "waits for you", unknown: "outcome unknown" };
const BADGES = { running: "runs", waiting: "waits" };
const FRAMES = new Set(["loop", "parallel", "group", "finally"]);
const LEAST = 0.62;

const plain = (text) => window.nebula.plain(text);
const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x} ${y}`).join(" ");
export const wordOf = (state) => WORDS[state] || state;
const said = (box) => [plain(box.title), plain(box.detail), box.state !== "idle" && wordOf(box.state)].filter(Boolean);

// Where a line's label stands: beside the middle of its first piece.
function beside([[ax, ay], [bx, by]]) {
  return ax === bx ? { x: ax + 6, y: (ay + by) / 2 + 4 } : { x: Math.min(ax, bx) + 6, y: ay - 5 };
}

function shape(h, { x, y, width: w, height: t, shape: kind }) {
  const middle = `${x + w / 2},${y} ${x + w},${y + t / 2} ${x + w / 2},${y + t} ${x},${y + t / 2}`;
  if (kind === "condition") return h("polygon", { points: middle });
  const round = kind === "start" || kind === "end" ? t / 2 : FRAMES.has(kind) ? 12 : 9;
  return h("rect", { x, y, width: w, height: t, rx: round });
}

function frame(h, box) {
  const { x, y, state } = box;
  return h("text", { className: "title", x: x + 14, y: y + 20 }, plain(box.title),
    box.detail && h("tspan", { className: "detail", dx: 8 }, plain(box.detail)),
    SIGNS[state] && h("tspan", { className: "sign", dx: 8 }, `${SIGNS[state]} ${wordOf(state)}`));
}

function texts(h, box) {
  const { x, y, width: w, height: t, state } = box;
  const middle = y + t / 2, center = { x: x + w / 2, textAnchor: "middle" };
  const low = box.detail && box.shape !== "condition";
  const badge = BADGES[state] || state, long = 6.4 * (badge.length + 2);
  return [
    h("text", { key: "title", className: "title", y: middle + (low ? -3 : 4), ...center }, plain(box.title)),
    low && h("text", { key: "detail", className: "detail", y: middle + 13, ...center }, plain(box.detail)),
    SIGNS[state] && box.shape !== "condition" && h("g", { key: "badge", className: "badge" },
      h("rect", { x: x + w - 16 - long, y: y - 10, width: long + 6, height: 16, rx: 8 }),
      h("text", { className: "sign", x: x + w - 13 - long / 2, y: y + 2, textAnchor: "middle" }, `${SIGNS[state]} ${badge}`)),
  ];
}

function boxOf(h, box) {
  const framed = FRAMES.has(box.shape);
  const given = { key: box.id, className: framed ? "box frame" : "box", "data-box": box.id, "data-shape": box.shape, "data-state": box.state };
  return h("g", given, !framed && h("title", null, said(box).join(": ")), shape(h, box), framed ? frame(h, box) : texts(h, box));
}

function lineOf(h, line, at, arrow) {
  return h("g", { key: at, className: "line", "data-dashed": line.dashed || undefined },
    h("path", { d: path(line.points), markerEnd: `url(#${arrow})` }),
    line.label && line.points.length > 1 && h("text", beside(line.points), plain(line.label)));
}

// The drawing, and the same as a list for who hears it; `id` tells several on one page apart.
export function picture(h, { title, width, height, boxes, lines }, id) {
  const steps = boxes.filter((box) => !["start", "end", "condition"].includes(box.shape));
  const arrow = `${id}-arrow`, look = { width: `${width}px`, minWidth: `${Math.round(width * LEAST)}px` };
  const marker = { id: arrow, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" };
  return [
    h("div", { key: "drawing", className: "scroll", tabIndex: 0, role: "region", "aria-label": `Diagram of ${plain(title) || "a workflow"}` },
      h("svg", { viewBox: `0 -4 ${width} ${height + 8}`, style: look, "aria-hidden": true },
        h("defs", null, h("marker", marker, h("path", { d: "M0 0.5 L7.5 4 L0 7.5 z" }))),
        boxes.filter((box) => FRAMES.has(box.shape)).map((box) => boxOf(h, box)),
        lines.map((line, at) => lineOf(h, line, at, arrow)),
        boxes.filter((box) => !FRAMES.has(box.shape)).map((box) => boxOf(h, box)))),
    h("ol", { key: "steps", className: "sr-only", "aria-label": "Steps" },
      steps.map((box) => h("li", { key: box.id }, said(box).join(", ")))),
  ];
}
