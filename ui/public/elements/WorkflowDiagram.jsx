// A workflow as boxes and lines, where its author put them; states are said by colour, sign and word.
import { useEffect, useId, useState } from "react"
import { useChatData } from "@chainlit/react-client"
import { FlaskConical, Play, RotateCcw, Square } from "lucide-react"
import { Button } from "@/components/ui/button"

const { plain, read, call, follow, span, away } = window.nebula
const SIGNS = { running: "▶", waiting: "?", done: "✓", failed: "✗", skipped: "–", unknown: "!", cancelled: "–" }
const WORDS = { running: "runs", waiting: "waits for you", unknown: "outcome unknown" }
const BADGES = { running: "runs", waiting: "waits" }
const FRAMES = new Set(["loop", "parallel", "group", "finally"])
const LEAST = 0.62
const GOING = new Set(["queued", "running", "waiting"])
// A browser keeps few connections to one server: further pictures ask again and again instead.
const MOST_STREAMS = 3

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
  const badge = BADGES[state] || state, long = 6.4 * (badge.length + 2)
  const low = detail && shape !== "condition"
  return (
    <>
      <text className="title" x={x + w / 2} y={middle + (low ? -3 : 4)} textAnchor="middle">{title}</text>
      {low && <text className="detail" x={x + w / 2} y={middle + 13} textAnchor="middle">{detail}</text>}
      {SIGNS[state] && shape !== "condition" && (
        <g className="badge"><rect x={x + w - 16 - long} y={y - 10} width={long + 6} height={16} rx={8} />
          <text className="sign" x={x + w - 13 - long / 2} y={y + 2} textAnchor="middle">{SIGNS[state]} {badge}</text></g>
      )}
    </>
  )
}

function Picture({ diagram, id }) {
  const { title, width, height, boxes, lines } = diagram
  const steps = boxes.filter((box) => !["start", "end", "condition"].includes(box.shape))
  return (
    <>
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
              <title>{said(box).join(": ")}</title>
              <Shape box={box} /><Texts box={box} /></g>
          ))}
        </svg>
      </div>
      <ol className="sr-only" aria-label="Steps">{steps.map((box) => <li key={box.id}>{said(box).join(", ")}</li>)}</ol>
    </>
  )
}
const said = (box) => [plain(box.title), plain(box.detail), box.state !== "idle" && wordOf(box.state)].filter(Boolean)

// A workflow or one run of it, read from the server and again whenever a step of it goes on.
function useLive(of) {
  const { connected } = useChatData()
  const [[workflow, run], setOf] = useState(of.split(":"))
  const [data, setData] = useState(null)
  const [problem, setProblem] = useState("")
  const look = async () => {
    try {
      setData(await read(`/ui/workflows/${encodeURIComponent(workflow)}?run=${encodeURIComponent(run || "")}`))
      setProblem("")
    } catch (error) { setProblem(error.message) }
  }
  useEffect(() => follow("workflows", look), [connected, workflow, run])
  const going = GOING.has(data?.detail.run?.state)
  useEffect(() => {
    if (!going) return
    if ((window.nebulaStreams || 0) >= MOST_STREAMS) {
      const timer = setInterval(look, 2000)
      return () => clearInterval(timer)
    }
    window.nebulaStreams = (window.nebulaStreams || 0) + 1
    const stream = `workflow:${data.detail.workflow.id}`
    const source = new EventSource(`/api/events?${new URLSearchParams({ stream, after: new URLSearchParams({ [stream]: data.number }) })}`)
    for (const kind of ["workflow.step", "workflow.run"]) source.addEventListener(kind, look)
    return () => { source.close(); window.nebulaStreams -= 1 }
  }, [going, workflow, run])
  return { data, problem, setProblem, look, watch: (id) => setOf([workflow, id]) }
}

function Live({ of }) {
  const id = useId().replaceAll(":", "")
  const { data, problem, setProblem, look, watch } = useLive(of)
  const [busy, setBusy] = useState(false)
  const act = async (tool, given) => {
    setBusy(true)
    setProblem("")
    const { result, error, waiting } = await call(callAction, tool, given)
    if (error) setProblem([error.detail, error.hint].filter(Boolean).join(" "))
    if (waiting) setProblem("This waits for your approval: its card is in the chat.")
    if (result) watch(result.run.id)
    await look()
    setBusy(false)
  }
  if (!data) return <figure className="nebula-card workflow"><p className="dim">{plain(problem) || "Reading…"}</p></figure>
  const { workflow, diagram, run, steps } = data.detail
  const asked = steps.filter((step) => step.state === "waiting" && step.approval_id)
  const going = run && GOING.has(run.state)
  const unknown = steps.some((step) => step.state === "unknown")
  const facts = run && [`${run.dry_run ? "dry run " : ""}${wordOf(run.state)}`, `by ${plain(run.started_by)}`, away(run.created_at), run.seconds > 0 && `worked ${span(run.seconds)}`].filter(Boolean)
  return (
    <figure className="nebula-card workflow" data-workflow={workflow.id} data-run={run?.id} data-state={run?.state} aria-labelledby={`${id}-title`}>
      <figcaption id={`${id}-title`}>{plain(workflow.name)}{!workflow.enabled && <small> switched off: {plain(workflow.stopped_because)}</small>}</figcaption>
      {facts && <p className="facts" role="status">{facts.join(" · ")}</p>}
      {run?.problem && <p className="problem">{plain(run.problem)}</p>}
      {asked.map((step) => <p key={step.path} className="note"><span>{plain(step.step)} waits for your decision. <a href={`/api/approvals/${encodeURIComponent(step.approval_id)}/page`}>Decide</a></span></p>)}
      <Picture diagram={{ ...diagram, title: workflow.name }} id={id} />
      {data.may_change && <footer>
        {!going && <Button size="sm" disabled={busy || !workflow.enabled} onClick={() => act("workflows_run", { workflow: workflow.id })}><Play className="h-4 w-4" aria-hidden="true" />Run</Button>}
        {!going && <Button size="sm" variant="outline" disabled={busy} onClick={() => act("workflows_run", { workflow: workflow.id, dry_run: true })}><FlaskConical className="h-4 w-4" aria-hidden="true" />Dry run</Button>}
        {going && <Button size="sm" variant="outline" disabled={busy} onClick={() => act("workflows_cancel", { run: run.id })}><Square className="h-4 w-4" aria-hidden="true" />Cancel</Button>}
        {run && !going && !run.dry_run && run.state !== "done" && <Button size="sm" variant="outline" disabled={busy} onClick={() => act("workflows_resume", { run: run.id, ...(unknown ? { again: true } : {}) })}><RotateCcw className="h-4 w-4" aria-hidden="true" />{unknown ? "Resume, and do the unknown step again" : "Resume"}</Button>}
      </footer>}
      {problem && <p className="problem" role="alert">{plain(problem)}</p>}
    </figure>
  )
}

export default function WorkflowDiagram() {
  const id = useId().replaceAll(":", "")
  if (props.of !== undefined) return <Live of={props.of} />
  return (
    <figure className="nebula-card workflow" aria-labelledby={`${id}-title`}>
      {props.title && <figcaption id={`${id}-title`}>{plain(props.title)}</figcaption>}
      <Picture diagram={props} id={id} />
    </figure>
  )
}
