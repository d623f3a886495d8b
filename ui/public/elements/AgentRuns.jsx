// Runs of agents: what each did, said and used; the one that goes on shows its steps live.
import { useEffect, useId, useState } from "react"
import { useChatData } from "@chainlit/react-client"
import { Ban, ChevronRight, CircleCheck, CircleHelp, CircleX, Clock, History, LoaderCircle, ShieldAlert } from "lucide-react"
import { Button } from "@/components/ui/button"

const { plain, read, follow, moment, away, span } = window.nebula
const STATES = {
  queued: ["In line", Clock], running: ["Running", LoaderCircle], waiting: ["Waits for you", ShieldAlert], done: ["Done", CircleCheck],
  failed: ["Failed", CircleX], stopped: ["Stopped by a limit", Ban], cancelled: ["Cancelled", Ban], skipped: ["Skipped", Ban],
}
const STEPS = { running: LoaderCircle, done: CircleCheck, failed: CircleX, waiting: ShieldAlert }
const DID = { done: "done", waiting: "waits for approval", failed: "failed", running: "begun" }
const GOING = new Set(["queued", "running", "waiting"])
const ONE = (props.of || "").startsWith("run_")
const count = (number) => Number(number).toLocaleString("en-US")
const shortly = (value) => { const text = plain(typeof value === "string" ? value : JSON.stringify(value)); return text.length > 80 ? `${text.slice(0, 79)}…` : text }

// The steps of a run that goes on, as its conversation tells them.
function useSteps(run, on) {
  const [steps, setSteps] = useState([])
  const live = on && run.session_id && run.state === "running"
  useEffect(() => {
    if (!live) return
    const source = new EventSource(`/api/jarvis/chat/${encodeURIComponent(run.session_id)}`)
    source.addEventListener("tool", (event) => {
      const step = JSON.parse(event.data)
      setSteps((all) => {
        const at = all.findIndex((one) => one.call_id === step.call_id)
        const given = Object.keys(step.arguments || {}).length ? step.arguments : all[at]?.arguments
        const next = { ...step, arguments: given }
        return at < 0 ? [...all, next] : all.map((one, n) => (n === at ? next : one))
      })
    })
    source.addEventListener("done", () => source.close())
    source.addEventListener("error", () => { if (source.readyState === EventSource.CLOSED) source.close() })
    return () => source.close()
  }, [live, run.session_id])
  return steps
}

function Steps({ steps, going }) {
  if (steps.length === 0) return going ? <p className="dim">It thinks about its first step.</p> : null
  return (
    <ol className="steps" aria-label="Steps">{steps.map((step) => {
      const Icon = STEPS[step.status] || CircleHelp
      const given = Object.entries(step.arguments || {})
      return (
        <li key={step.call_id} data-status={step.status}>
          <Icon className={`h-4 w-4 ${step.status === "running" ? "animate-spin" : ""}`} aria-hidden="true" />
          <span><code>{plain(step.name)}</code> <small>{step.status === "done" && step.message ? plain(step.message) : step.status}</small>
            {given.length > 0 && <em>{given.map(([name, value]) => `${plain(name)}: ${shortly(value)}`).join(", ")}</em>}
            {step.error && <em className="problem">{plain(step.error.detail)}</em>}</span>
        </li>
      )
    })}</ol>
  )
}

function Did({ run }) {
  if (run.did.length === 0) return run.dry_run && !GOING.has(run.state) ? <p className="dim">It would have changed nothing.</p> : null
  return (
    <div className="did">
      <h5>{run.dry_run ? "What it would have done" : "What it did"}</h5>
      <ul>{run.did.map((one, i) => (
        <li key={i} data-status={one.status}><code>{plain(one.tool)}</code> <small>{run.dry_run ? "not done" : DID[one.status] || plain(one.status)}</small>
          <dl>{Object.entries(one.arguments || {}).map(([name, value]) => <div key={name}><dt>{plain(name)}</dt><dd>{shortly(value)}</dd></div>)}</dl></li>
      ))}</ul>
    </div>
  )
}

function Run({ run, open, toggle, look }) {
  const id = useId()
  const steps = useSteps(run, open)
  const [problem, setProblem] = useState("")
  const [sent, setSent] = useState(false)
  const [label, Icon] = STATES[run.state] || [run.state, CircleHelp]
  const facts = [run.started_at && run.state !== "skipped" && (run.state === "running" ? `for ${span((Date.now() - new Date(run.started_at)) / 1000)}` : `took ${span(run.seconds)}`),
    run.tokens > 0 && `${count(run.tokens)} tokens`, Number(run.money) > 0 && `cost ${count(run.money)}`].filter(Boolean)
  const cancel = async () => {
    setSent(true)
    const answer = await fetch(`/api/jarvis/chat/${encodeURIComponent(run.session_id)}/cancel`, { method: "POST", credentials: "same-origin" }).catch(() => null)
    if (!answer?.ok) setProblem((await answer?.json().catch(() => null))?.detail || "That did not arrive. Try again.")
    setSent(false)
    look()
  }
  return (
    <li className="run" data-run={run.id} data-state={run.state}>
      <button type="button" className="open" aria-expanded={open} aria-controls={id} onClick={toggle}>
        <Icon className={`state h-4 w-4 ${run.state === "running" ? "animate-spin" : ""}`} aria-hidden="true" />
        <span className="title"><strong>{label}</strong>{run.dry_run && <span className="chip">dry run</span>}{(!props.of || ONE) && <span className="who">{plain(run.agent)}</span>}</span>
        <span className="at" title={moment(run.created_at)}>{away(run.created_at)}</span>
        <ChevronRight className="fold h-4 w-4" data-open={open || undefined} aria-hidden="true" />
        <span className="facts">{[`by ${plain(run.started_by)}`, ...facts].join(" · ")}</span>
      </button>
      <div id={id} hidden={!open}>{open && (
        <div className="details">
          {run.state === "waiting" && <p className="note"><ShieldAlert className="h-4 w-4" aria-hidden="true" /><span>It goes on when you have decided. {run.session_id && <a href={`/thread/${encodeURIComponent(run.session_id)}`}>See the question</a>}</span></p>}
          {run.problem && <p className={run.state === "waiting" || run.state === "skipped" ? "dim" : "problem"}>{plain(run.problem)}</p>}
          <Steps steps={steps} going={run.state === "running"} />
          <Did run={run} />
          {run.report && <div className="report"><h5>Report</h5><p>{plain(run.report)}</p></div>}
          {run.told && <p className="dim">{plain(run.told)}</p>}
          <footer>
            {run.session_id && <Button size="sm" variant="outline" asChild><a href={`/thread/${encodeURIComponent(run.session_id)}`}>{GOING.has(run.state) ? "Open its session" : "Open and continue"}</a></Button>}
            {["running", "waiting"].includes(run.state) && <Button size="sm" variant="outline" disabled={sent} onClick={cancel}>{sent ? "Stopping…" : "Cancel"}</Button>}
          </footer>
          {problem && <p className="problem" role="alert">{plain(problem)}</p>}
        </div>
      )}</div>
    </li>
  )
}

export default function AgentRuns() {
  const { connected } = useChatData()
  const [runs, setRuns] = useState(null)
  const [open, setOpen] = useState(ONE ? props.of : "")
  const [problem, setProblem] = useState("")
  const heading = useId()
  const query = ONE ? `run=${encodeURIComponent(props.of)}` : `agent=${encodeURIComponent(props.of || "")}`
  const look = async () => {
    try { setRuns((await read(`/ui/agents/runs?${query}`)).runs); setProblem("") } catch (error) { setProblem(error.message) }
  }
  useEffect(() => follow("agents", look), [connected])
  // What runs counts its seconds.
  const [, tick] = useState(0)
  const going = (runs || []).some((run) => run.state === "running")
  useEffect(() => {
    if (!going) return
    const timer = setInterval(() => tick((n) => n + 1), 1000)
    return () => clearInterval(timer)
  }, [going])

  if (!runs) return <section className="nebula-card agents runs"><p className="dim">{plain(problem) || "Reading…"}</p></section>
  return (
    <section className="nebula-card agents runs" aria-labelledby={heading}>
      <header><History className="h-5 w-5" aria-hidden="true" /><h3 id={heading}>{ONE ? "Run" : "Runs"}</h3>
        {props.of && !ONE && runs[0] && <span className="dim">of {plain(runs[0].agent)}</span>}</header>
      {problem && <p className="problem" role="alert">{plain(problem)}</p>}
      {runs.length === 0 && <p className="empty">No runs yet.</p>}
      <ul>{runs.map((run) => <Run key={run.id} run={run} open={open === run.id} toggle={() => setOpen(open === run.id ? "" : run.id)} look={look} />)}</ul>
    </section>
  )
}
