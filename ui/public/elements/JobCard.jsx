// A background job, live: read from the server, so that it is right after a reload too.
import { useEffect, useRef, useState } from "react"
import { useChatData } from "@chainlit/react-client"
import { ChevronRight, CircleCheck, CircleHelp, CircleX, Clock, LoaderCircle } from "lucide-react"
import { Button } from "@/components/ui/button"

const { inFull } = window.nebula

const TITLES = {
  queued: "Waiting", running: "Running", succeeded: "Done", failed: "Failed", cancelled: "Cancelled",
  timed_out: "Took too long", lost: "Lost", unknown: "Outcome unknown",
}
const ICONS = { queued: Clock, running: LoaderCircle, succeeded: CircleCheck, unknown: CircleHelp }
const ENDED = new Set(["succeeded", "failed", "cancelled", "timed_out", "lost", "unknown"])
const AGAIN = new Set(["failed", "cancelled", "timed_out", "lost"])
const LINES = 200
// A browser keeps few connections to one server: further cards ask again and again instead.
const MOST_STREAMS = 3
const POLL = 2000

function plain(value) {
  return String(value ?? "").replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g,
    (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"))
}

function span(seconds) {
  if (seconds == null) return ""
  const s = Math.max(0, Math.round(seconds))
  if (s < 60) return `${s} s`
  const m = Math.floor(s / 60)
  return m < 60 ? `${m} min ${s % 60} s` : `${Math.floor(m / 60)} h ${m % 60} min`
}

export default function JobCard() {
  const { loading } = useChatData()
  const [job, setJob] = useState(null)
  const [log, setLog] = useState([])
  const [open, setOpen] = useState(false)
  const [sending, setSending] = useState("")
  const [problem, setProblem] = useState("")
  const [now, setNow] = useState(() => Date.now())
  const told = useRef(false)
  const tail = useRef(null)
  const id = props.job_id
  const path = `/api/jobs/${encodeURIComponent(id)}`

  useEffect(() => {
    let on = true, source = null, timer = null, after = 0
    const take = (body) => {
      after = body.number
      setJob(body.job)
      setLog(body.log)
      setProblem("")
      if (ENDED.has(body.job.state)) {
        close()
        if (body.blocks.length && !told.current) {
          told.current = true
          callAction({ name: "job_ended", payload: { id } })
        }
      }
      return ENDED.has(body.job.state)
    }
    const read = async () => {
      try {
        const answer = await fetch(`/ui/jobs/${encodeURIComponent(id)}`, { credentials: "same-origin" })
        const body = await answer.json()
        if (!answer.ok) { if (on) setProblem(body.detail || "The job cannot be read."); return answer.status < 500 }
        return on ? take(body) : true
      } catch { if (on) setProblem("The server does not answer. Trying again."); return false }
    }
    const poll = () => { timer = setTimeout(async () => { if (on && !(await read()) && on) poll() }, POLL) }
    const follow = () => {
      if ((window.nebulaStreams || 0) >= MOST_STREAMS) return poll()
      window.nebulaStreams = (window.nebulaStreams || 0) + 1
      source = new EventSource(`${path}/events?after=${after}`)
      const data = (event) => JSON.parse(event.data).data
      source.addEventListener("job", (event) => take(JSON.parse(event.data)))
      source.addEventListener("job.progress", (event) => setJob((j) => ({ ...j, progress: data(event) })))
      source.addEventListener("job.state", (event) => {
        const { state, waits_because, attempts, cancel_requested } = data(event)
        // The end is shown when the whole job comes, right behind.
        if (!ENDED.has(state)) setJob((j) => ({ ...j, state, waits_because, attempts, cancel_requested }))
      })
      source.addEventListener("job.log", (event) => setLog((lines) => [...lines, data(event)].slice(-LINES)))
      // A refusal of the server; a lost connection is taken up again by the browser.
      source.addEventListener("error", () => { if (source?.readyState === EventSource.CLOSED) { close(); poll() } })
    }
    const close = () => {
      if (source) { source.close(); source = null; window.nebulaStreams -= 1 }
      clearTimeout(timer)
    }
    read().then((over) => { if (on && !over) follow() })
    return () => { on = false; close() }
  }, [id])

  const state = job?.state || props.state
  const ended = ENDED.has(state)
  useEffect(() => {
    if (state !== "running") return
    const timer = setInterval(() => setNow(Date.now()), 1000)
    return () => clearInterval(timer)
  }, [state])
  useEffect(() => { if (open && tail.current) tail.current.scrollTop = tail.current.scrollHeight }, [open, log])

  const cancel = async () => {
    setSending("cancel")
    try {
      const answer = await fetch(`${path}/cancel`, { method: "POST", credentials: "same-origin" })
      const body = await answer.json()
      if (!answer.ok) setProblem(inFull(body))
      else setJob((j) => ({ ...j, cancel_requested: true }))
    } catch { setProblem("That did not arrive. Try again.") }
    setSending("")
  }

  const progress = job?.progress || { fraction: props.fraction, message: "" }
  const share = state === "succeeded" ? 100 : progress.fraction == null ? null : Math.round(progress.fraction * 100)
  const stopping = job?.cancel_requested && !ended
  const Icon = ICONS[state] || CircleX
  const tone = state === "succeeded" ? "good" : ended ? "bad" : "open"
  const facts = []
  if (state === "running") {
    if (progress.steps) facts.push(`step ${progress.step ?? 0} of ${progress.steps}`)
    if (progress.eta_seconds != null) facts.push(`about ${span(progress.eta_seconds)} left`)
    if (job?.started_at) facts.push(`running for ${span((now - new Date(job.started_at)) / 1000)}`)
    if (job?.attempts > 1) facts.push(`attempt ${job.attempts}`)
  }
  if (ended && job?.started_at && job?.finished_at) facts.push(`took ${span((new Date(job.finished_at) - new Date(job.started_at)) / 1000)}`)
  const said = state === "queued" ? (job ? job.waits_because : props.message) || "Starts as soon as a worker is free."
    : job?.error ? inFull(job.error) : ended ? "" : progress.message

  return (
    <section className={`nebula-card job ${tone}`} data-job={id} data-state={state} aria-label={`Job ${plain(props.tool)}`}>
      <header>
        <Icon className={`h-5 w-5 ${state === "running" ? "animate-spin" : ""}`} aria-hidden="true" />
        <strong>{stopping ? "Stopping" : TITLES[state] || state}</strong>
        <code className="tool">{plain(props.tool)}</code>
        {share != null && state !== "queued" && <span className="share">{share}%</span>}
      </header>
      {state === "running" && (
        <div className="bar" role="progressbar" aria-label="Progress" aria-valuemin={0} aria-valuemax={100}
          aria-valuenow={share ?? undefined} data-open={share == null || undefined}>
          <i style={{ width: `${share ?? 0}%` }} />
        </div>
      )}
      {said && <p className={job?.error ? "problem" : "said"} aria-live="polite">{plain(said)}</p>}
      {facts.length > 0 && <p className="facts">{facts.join(" · ")}</p>}
      {log.length > 0 && (
        <div className="log">
          <button type="button" aria-expanded={open} onClick={() => setOpen(!open)}>
            <ChevronRight className="h-4 w-4" aria-hidden="true" data-open={open || undefined} />
            Log <span>{open ? "" : plain(log[log.length - 1].text)}</span>
          </button>
          {open && <pre ref={tail} tabIndex={0}>{log.map((line) => plain(line.text)).join("\n")}</pre>}
        </div>
      )}
      {(!ended || AGAIN.has(state)) && (
        <footer>
          {!ended && <Button size="sm" variant="outline" disabled={!!sending || stopping || !job} onClick={cancel}>{stopping ? "Stopping…" : "Cancel"}</Button>}
          {ended && <Button size="sm" variant="outline" disabled={loading || !!sending}
            onClick={() => { setSending("retry"); sendUserMessage(`retry job ${id}`) }}>Retry</Button>}
        </footer>
      )}
      {problem && <p className="problem" role="alert">{plain(problem)}</p>}
    </section>
  )
}
