// A workflow as boxes and lines, where its author put them; states are said by colour, sign and word.
import { useId } from "react"

const { plain } = window.nebula
const SIGNS = { running: "▶", waiting: "?", done: "✓", failed: "✗", skipped: "–", unknown: "!", cancelled: "–" }
const WORDS = { running: "runs", waiting: "waits for you", unknown: "outcome unknown" }
const FRAMES = new Set(["loop", "parallel", "group", "finally"])
const LEAST = 0.62

const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x} ${y}`).join(" ")
const wordOf = (state) => WORDS[state] || state

// Where a line's label stands: beside the middle of its first piece.
function beside([[ax, ay], [bx, by]]) {
  return ax === bx ? { x: ax + 6, y: (ay + by) / 2 + 4 } : { x: Math.min(ax, bx) + 6, y: ay - 5 }
}

function Shape({ box }) {
  const { x, y, width: w, height: h, shape } = box
  if (shape === "condition") return <polygon points={`${x + w / 2},${y} ${x + w},${y + h / 2} ${x + w / 2},${y + h} ${x},${y + h / 2}`} />
  return <rect x={x} y={y} width={w} height={h} rx={shape === "start" || shape === "end" ? h / 2 : FRAMES.has(shape) ? 12 : 9} />
}

function Texts({ box }) {
  const { x, y, width: w, height: h, shape, state } = box
  const title = plain(box.title), detail = plain(box.detail)
  if (FRAMES.has(shape)) {
    return <text className="title" x={x + 14} y={y + 20}>{title}{detail && <tspan className="detail" dx="8">{detail}</tspan>}
      {SIGNS[state] && <tspan className="sign" dx="8">{SIGNS[state]} {wordOf(state)}</tspan>}</text>
  }
  const middle = y + h / 2
  const low = detail && shape !== "condition"
  return (
    <>
      <text className="title" x={x + w / 2} y={middle + (low ? -3 : 4)} textAnchor="middle">{title}</text>
      {low && <text className="detail" x={x + w / 2} y={middle + 13} textAnchor="middle">{detail}</text>}
      {SIGNS[state] && shape !== "condition" && (
        <g className="badge"><rect x={x + w - 10 - 6.6 * (wordOf(state).length + 2)} y={y - 9} width={6.6 * (wordOf(state).length + 2) + 6} height={18} rx={9} />
          <text className="sign" x={x + w - 7 - 3.3 * (wordOf(state).length + 2)} y={y + 4} textAnchor="middle">{SIGNS[state]} {wordOf(state)}</text></g>
      )}
    </>
  )
}

export default function WorkflowDiagram() {
  const id = useId().replaceAll(":", "")
  const { title, width, height, boxes, lines } = props
  const steps = boxes.filter((box) => !["start", "end", "condition"].includes(box.shape))
  return (
    <figure className="nebula-card workflow" aria-labelledby={`${id}-title`}>
      {title && <figcaption id={`${id}-title`}>{plain(title)}</figcaption>}
      <div className="scroll" tabIndex={0} role="region" aria-label={`Diagram of ${plain(title) || "a workflow"}`}>
        <svg viewBox={`0 -4 ${width} ${height + 8}`} style={{ width: `${width}px`, minWidth: `${Math.round(width * LEAST)}px` }} aria-hidden="true">
          <defs><marker id={`${id}-arrow`} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse"><path d="M0 0.5 L7.5 4 L0 7.5 z" /></marker></defs>
          {boxes.filter((box) => FRAMES.has(box.shape)).map((box) => (
            <g key={box.id} className="box frame" data-box={box.id} data-shape={box.shape} data-state={box.state}><Shape box={box} /><Texts box={box} /></g>
          ))}
          {lines.map((line, i) => (
            <g key={i} className="line" data-dashed={line.dashed || undefined}>
              <path d={path(line.points)} markerEnd={`url(#${id}-arrow)`} />
              {line.label && line.points.length > 1 && <text {...beside(line.points)}>{plain(line.label)}</text>}
            </g>
          ))}
          {boxes.filter((box) => !FRAMES.has(box.shape)).map((box) => (
            <g key={box.id} className="box" data-box={box.id} data-shape={box.shape} data-state={box.state}>
              <title>{[plain(box.title), plain(box.detail), box.state !== "idle" && wordOf(box.state)].filter(Boolean).join(": ")}</title>
              <Shape box={box} /><Texts box={box} /></g>
          ))}
        </svg>
      </div>
      <ol className="sr-only" aria-label="Steps">{steps.map((box) => (
        <li key={box.id}>{[plain(box.title), plain(box.detail), box.state !== "idle" && wordOf(box.state)].filter(Boolean).join(", ")}</li>
      ))}</ol>
    </figure>
  )
}
