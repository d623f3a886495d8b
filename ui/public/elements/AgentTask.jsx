// A task that several agents work on: who is how far, what each says, and how it ends.
import { useEffect, useId, useRef, useState } from "react"
import { useChatData } from "@chainlit/react-client"
import { Ban, ChevronRight, CircleCheck, CircleX, Clock, Hourglass, LoaderCircle, RotateCcw, ShieldAlert, Square, Users } from "lucide-react"
import { Button } from "@/components/ui/button"

const { plain, read, call, follow, watch, moment, away, span, inFull } = window.nebula
const STATES = {
  "": ["not begun", Hourglass], queued: ["starts soon", Clock], running: ["at work", LoaderCircle], waiting: ["waits for your decision", ShieldAlert], done: ["done", CircleCheck],
  failed: ["failed", CircleX], stopped: ["used up its limits", Ban], cancelled: ["stopped", Ban], skipped: ["not started", Ban], late: ["too late", Ban],
}
const WHOLE = { open: "at work", done: "done", failed: "did not come off", cancelled: "stopped" }
const OPEN = new Set(["", "queued", "running", "waiting"])
const ENDED = new Set(["succeeded", "failed", "cancelled", "timed_out", "lost", "unknown"])
const AGAIN = new Set(["failed", "cancelled", "timed_out", "lost"])
const count = (number) => Number(number).toLocaleString("en-US")
const show = (run, name) => callAction({ name: "beside", payload: { view: "agent-runs", of: run, title: `Run of ${name}` } })

// What was agreed, in a sentence.
function rule({ mode, at_least: least, wait, members }) {
  const working = members.filter((one) => !one.joins), joiner = members.find((one) => one.joins)
  const many = working.length === 1 ? "it has to succeed" : least === working.length ? "all of them have to succeed" : `${least} of ${working.length} ${least === 1 ? "has" : "have"} to succeed`
  return [mode === "chain" ? "One after another" : working.length === 1 ? "One agent" : "At the same time", many, !wait && least < working.length && "the others are stopped then",
    joiner && `${plain(joiner.agent)} joins the reports`].filter(Boolean).join(" · ")
}

function Member({ member, nth, chain }) {
  const id = useId()
  const [label, Icon] = STATES[member.state] || [member.state, Clock]
  const [open, setOpen] = useState(false)
  const said = member.problem || member.report
  const facts = [label, member.seconds > 0 && span(member.seconds), member.tokens > 0 && `${count(member.tokens)} tokens`].filter(Boolean)
  return (
    <li className="run" data-agent={member.agent} data-state={member.state}>
      <div className="head">
        <button type="button" className="open" aria-expanded={open} aria-controls={id} disabled={!said} onClick={() => setOpen(!open)}>
          <Icon className={`state h-4 w-4 ${member.state === "running" ? "animate-spin" : ""}`} aria-hidden="true" />
          <span className="title"><strong>{chain && !member.joins ? `${nth}. ` : ""}{plain(member.agent)}</strong>{member.joins && <span className="chip">joins</span>}{member.labels.includes("outside") && <span className="chip" title="It read text from outside, or a report of an agent that did">read outside text</span>}</span>
          {said ? <ChevronRight className="fold h-4 w-4" data-open={open || undefined} aria-hidden="true" /> : <span />}
          <span className="facts">{facts.join(" · ")}</span>
          {said && !open && <span className="line">{plain(said)}</span>}
        </button>
        {member.state === "waiting" && member.session_id ? <Button size="sm" asChild><a href={`/thread/${encodeURIComponent(member.session_id)}`}>Decide</a></Button>
          : member.run_id && <Button size="sm" variant="outline" aria-label={`See the run of ${plain(member.agent)}`} onClick={() => show(member.run_id, member.agent)}>Run</Button>}
      </div>
      <div id={id} hidden={!open}>{open && <div className="details">
        {member.problem && <p className="problem">{plain(member.problem)}</p>}
        {member.report && <div className="report"><p>{plain(member.report)}</p></div>}
      </div>}</div>
    </li>
  )
}

function useBoard(of) {
  const { connected } = useChatData()
  const [data, setData] = useState(null)
  const [problem, setProblem] = useState("")
  const look = async () => {
    try { setData(await read(`/ui/agents/boards/${encodeURIComponent(of)}`)); setProblem("") } catch (error) { setProblem(error.message) }
  }
  useEffect(() => follow("agents", look), [connected])
  const board = data?.board
  const going = data && (board ? board.state === "open" : !ENDED.has(data.job?.state))
  useEffect(() => {
    if (!going) return
    if (board) return watch(`board:${board.id}`, data.number, ["board.changed"], look)
    const timer = setInterval(look, 1500) // its job waits for a worker: there is no board yet
    return () => clearInterval(timer)
  }, [going, board?.id])
  return { data, board, going, problem, look }
}

export default function AgentTask() {
  const { data, board, going, problem, look } = useBoard(props.of)
  const [busy, setBusy] = useState(false)
  const [said, setSaid] = useState("")
  const told = useRef(false)
  const heading = useId()
  const [, tick] = useState(0)
  useEffect(() => {
    if (!going) return
    const timer = setInterval(() => tick((n) => n + 1), 10000)
    return () => clearInterval(timer)
  }, [going])
  // Its result is said in the chat once the job that follows it has ended.
  const job = data?.job
  useEffect(() => {
    if (told.current || !props.of.startsWith("job_") || job?.state !== "succeeded") return
    told.current = true
    callAction({ name: "job_ended", payload: { id: props.of } })
  }, [job?.state])
  const stop = async () => {
    setBusy(true)
    setSaid("")
    const { error, waiting } = await call(callAction, "agents_stop", { which: board?.id || props.of })
    await look()
    if (error) setSaid(inFull(error))
    if (waiting) setSaid("Stopping waits for your approval: its card is in the chat.")
    setBusy(false)
  }
  const cancel = async () => {
    setBusy(true)
    const answer = await fetch(`/api/jobs/${encodeURIComponent(props.of)}/cancel`, { method: "POST", credentials: "same-origin" }).catch(() => null)
    if (!answer?.ok) setSaid((await answer?.json().catch(() => null))?.detail || "That did not arrive. Try again.")
    await look()
    setBusy(false)
  }
  const again = job && AGAIN.has(job.state) && <Button size="sm" variant="outline" onClick={() => sendUserMessage(`retry job ${job.id}`)}><RotateCcw className="h-4 w-4" aria-hidden="true" />Try again</Button>

  if (!data) return <section className="nebula-card agents task"><p className="dim">{plain(problem) || "Reading…"}</p></section>
  if (!board) {
    const words = job?.error ? inFull(job.error) : job && ENDED.has(job.state) ? "It ended before it began." : job?.waits_because || "It starts as soon as a worker is free."
    return (
      <section className="nebula-card agents task" data-job={props.of} data-state={job?.state} aria-labelledby={heading}>
        <header><Users className="h-5 w-5" aria-hidden="true" /><h3 id={heading}>A task for several agents</h3></header>
        <p className={job?.error ? "problem" : "dim"}>{plain(problem || words)}</p>
        {job && <footer>{ENDED.has(job.state) ? again : <Button size="sm" variant="outline" disabled={busy} onClick={cancel}>Cancel</Button>}</footer>}
        {said && <p className="problem" role="alert">{plain(said)}</p>}
      </section>
    )
  }
  const settled = board.members.filter((one) => !OPEN.has(one.state)).length
  const all = board.members.length
  const times = going ? `begun ${away(board.created_at)}, ends ${away(board.deadline)} at the latest` : `${moment(board.ended_at)}, took ${span((new Date(board.ended_at) - new Date(board.created_at)) / 1000)}`
  return (
    <section className="nebula-card agents task" data-board={board.id} data-state={board.state} aria-labelledby={heading}>
      <header>
        <Users className="h-5 w-5" aria-hidden="true" />
        <h3 id={heading}>{all === 1 ? "A task for an agent" : `A task for ${all} agents`}</h3>
        <span className="chip" data-state={board.state === "open" ? "running" : board.state} role="status">{WHOLE[board.state] || board.state}</span>
      </header>
      {problem && <p className="problem" role="alert">{plain(problem)}</p>}
      <p className="purpose">{plain(board.task)}</p>
      <p className="facts">{rule(board)}</p>
      <div className="bar" role="progressbar" aria-label={`${settled} of ${all} agents have ended`} aria-valuemin={0} aria-valuemax={all} aria-valuenow={settled}><i style={{ width: `${Math.round((settled / all) * 100)}%` }} /></div>
      <ul aria-label="Agents">{board.members.map((member, at) => <Member key={member.agent} member={member} nth={at + 1} chain={board.mode === "chain"} />)}</ul>
      {board.outcome && <p className={board.state === "failed" ? "problem" : "said"}>{plain(board.outcome)}</p>}
      <footer><span className="facts" title={moment(board.deadline)}>{times}</span>
        {going && data.may_change && <Button size="sm" variant="outline" disabled={busy} onClick={stop}><Square className="h-4 w-4" aria-hidden="true" />{busy ? "Stopping…" : "Stop everybody"}</Button>}{again}</footer>
      {said && <p className="problem" role="alert">{plain(said)}</p>}
    </section>
  )
}
