// What the machines do right now, beside the chat.
import { useEffect, useState } from "react"
import { useChatData } from "@chainlit/react-client"
import { Circle, CircleCheck, CircleX, LoaderCircle } from "lucide-react"

const EVERY = 3000
const gib = (bytes) => (bytes == null ? "?" : (bytes / 2 ** 30).toFixed(1))
const TASK = { done: CircleCheck, failed: CircleX, running: LoaderCircle, ready: Circle }

function Plan() {
  const { tasklists } = useChatData()
  const url = tasklists[tasklists.length - 1]?.url
  const [plan, setPlan] = useState(null)
  useEffect(() => {
    if (url) fetch(url).then((r) => r.json()).then(setPlan).catch(() => setPlan(null))
    else setPlan(null)
  }, [url])
  if (!plan) return null
  return (
    <section><h3>Plan <small>{plan.status}</small></h3>
      <ol className="plan">{plan.tasks.map((task, i) => {
        const Icon = TASK[task.status] || Circle
        return <li key={i} data-status={task.status}><Icon className={`h-4 w-4 ${task.status === "running" ? "animate-spin" : ""}`} aria-hidden="true" />{task.title}</li>
      })}</ol>
    </section>
  )
}

function Gpu({ card }) {
  const share = card.total && card.used != null ? Math.min(100, Math.round((card.used / card.total) * 100)) : null
  return (
    <div className="gpu">
      <div className="line"><strong>{card.name}</strong>{card.simulated && <em>simulated</em>}<span>{card.node}</span></div>
      <div className="bar" role="progressbar" aria-label={`Memory of ${card.name}`} aria-valuenow={share ?? undefined} data-full={share > 88 || undefined}>
        <i style={{ width: `${share ?? 0}%` }} />
      </div>
      <div className="line dim">
        <span>{gib(card.used)} of {gib(card.total)} GiB</span>
        {card.utilization != null && <span>{Math.round(card.utilization * 100)}% busy</span>}
        {card.temperature != null && <span>{Math.round(card.temperature)} °C</span>}
      </div>
      <div className="holds">{card.holds.length ? card.holds.map((name, i) => <code key={i}>{name}</code>) : <span className="dim">nothing loaded</span>}</div>
    </div>
  )
}

const plain = (text) => String(text ?? "").replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g, "·")

function JobLine({ job, read }) {
  const [problem, setProblem] = useState("")
  const [sent, setSent] = useState(false)
  const share = job.fraction == null ? null : Math.round(job.fraction * 100)
  const cancel = async () => {
    setSent(true)
    try {
      const answer = await fetch(`/api/jobs/${encodeURIComponent(job.id)}/cancel`, { method: "POST", credentials: "same-origin" })
      if (!answer.ok) { setProblem((await answer.json()).detail); setSent(false) }
    } catch { setProblem("That did not arrive. Try again."); setSent(false) }
    read()
  }
  return (
    <li data-job={job.id} data-state={job.state}>
      <div className="line"><code>{job.tool}</code>{job.owner && <em>{job.owner}</em>}<span>{job.state === "running" && share != null ? `${share}%` : job.state}</span></div>
      {job.state !== "queued" && (
        <div className="bar" role="progressbar" aria-label={`Progress of ${job.tool}`} aria-valuenow={share ?? undefined} data-open={share == null || undefined}>
          <i style={{ width: `${share ?? 0}%` }} />
        </div>
      )}
      <div className="line dim">
        <span>{plain(problem || job.said || (job.state === "queued" ? "Starts as soon as a worker is free." : ""))}</span>
        <button type="button" disabled={sent || job.state === "stopping"} onClick={cancel}>{sent || job.state === "stopping" ? "Stopping…" : "Cancel"}</button>
      </div>
    </li>
  )
}

const AGENT = { running: ["running", "up"], queued: ["in line", ""], waiting: ["waits for you", "slow"], off: ["switched off by failures", "down"] }

// Five confirmed clean runs in a row: the person may let it run for a while without asking.
function Offer({ offer, read }) {
  const [problem, setProblem] = useState("")
  const [sent, setSent] = useState(false)
  const say = async (method, body) => {
    setSent(true)
    const answer = await fetch(`/api/policy/grants/${encodeURIComponent(offer.id)}`, {
      method, credentials: "same-origin", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    }).catch(() => null)
    if (!answer?.ok) { setProblem((await answer?.json().catch(() => null))?.detail || "That did not arrive. Try again."); setSent(false) }
    read()
  }
  return (
    <div className="offer" role="group" aria-label={`Offer about ${plain(offer.whose)}`}>
      <p>Five clean runs, each confirmed: stop asking <strong>{plain(offer.whose)}</strong> about <code>{plain(offer.what)}</code>?</p>
      <div className="line">
        <button type="button" disabled={sent} onClick={() => say("POST", { days: 30 })}>Allow for 30 days</button>
        <button type="button" disabled={sent} onClick={() => say("DELETE", {})}>Keep asking</button>
      </div>
      {problem && <p className="problem" role="alert">{plain(problem)}</p>}
    </div>
  )
}

// What of one's own stands still: why, and the button or the words that set it going again.
function Notice({ notice, read }) {
  const [problem, setProblem] = useState("")
  const [sent, setSent] = useState(false)
  const again = async () => {
    setSent(true)
    const answer = await fetch(`/api/tools/${encodeURIComponent(notice.tool)}`, {
      method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" }, body: JSON.stringify(notice.arguments),
    }).catch(() => null)
    if (!answer?.ok || answer.status === 202) { setProblem((await answer?.json().catch(() => null))?.detail || "That did not arrive. Try again."); setSent(false) }
    read()
  }
  return (
    <li data-notice={notice.id}><i className="dot" data-health="down" />
      <span className="ask"><strong>{plain(notice.name)}</strong><em>{plain(problem || notice.said)}</em><small>{plain(notice.step)}</small></span>
      {notice.tool && <button type="button" disabled={sent} onClick={again}>Switch on again</button>}</li>
  )
}

// In a session that is for looking only, Jarvis changes nothing, whoever asks.
function Looking() {
  const id = location.pathname.match(/^\/thread\/([^/]+)/)?.[1]
  const [only, setOnly] = useState(null)
  const [problem, setProblem] = useState("")
  const ask = async (options) => {
    const answer = await fetch(`/api/sessions/${id}/rights`, { credentials: "same-origin", ...options }).catch(() => null)
    const body = await answer?.json().catch(() => null)
    if (answer?.ok) { setOnly(body.read_only); setProblem("") }
    else { setProblem(body?.detail || "That did not arrive. Try again."); if (options) setOnly((now) => !now) }
  }
  useEffect(() => { setOnly(null); if (id) ask() }, [id])
  if (!id || (only === null && !problem)) return null
  const put = (event) => {
    setOnly(event.target.checked)
    ask({ method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ read_only: event.target.checked }) })
  }
  return (
    <section><h3>This session</h3>
      <label className="looking"><input type="checkbox" role="switch" checked={only === true} onChange={put} />
        <span>Only look<small>Jarvis answers, and changes nothing.</small></span></label>
      {problem && <p className="problem" role="alert">{plain(problem)}</p>}
    </section>
  )
}

// What the panel reads also mends the number on its button, should a message have been missed.
function tellWaiting(waiting) {
  window.postMessage({ nebula: "waiting", waiting }, location.origin)
}

export default function SystemPanel() {
  const [state, setState] = useState(null)
  const [times, setTimes] = useState(0)
  const [problem, setProblem] = useState("")
  useEffect(() => {
    let on = true
    const read = async () => {
      if (document.hidden) return
      try {
        const answer = await fetch("/ui/panel", { credentials: "same-origin" })
        const body = await answer.json()
        if (!answer.ok) throw new Error(body.detail)
        if (on) { setState(body); setProblem(""); tellWaiting(body.approvals.length + body.notices.length) }
      } catch { if (on) setProblem("The server does not answer. Trying again.") }
    }
    read()
    const timer = setInterval(read, EVERY)
    const heard = (event) => { if (event.origin === location.origin && ["approvals", "agents"].includes(event.data?.nebula)) read() }
    window.addEventListener("message", heard)
    return () => { on = false; clearInterval(timer); window.removeEventListener("message", heard) }
  }, [times])
  if (!state) return <div className="nebula-panel"><p className="dim">{problem || "Reading…"}</p></div>
  return (
    <div className="nebula-panel">
      {problem && <p className="problem" role="alert">{problem}</p>}
      {state.problems.map((text, i) => <p key={i} className="problem" role="alert">{text}</p>)}
      <Plan />
      {state.cards && (
        <section><h3>GPUs</h3>
          {state.cards.length ? state.cards.map((card, i) => <Gpu key={i} card={card} />) : <p className="dim">No GPU is known here. Say “check setup” to see why.</p>}
        </section>
      )}
      {state.services && (
        <section><h3>Services</h3>
          {state.services.length === 0 && <p className="dim">The service map is empty.</p>}
          <ul>{state.services.map((one, i) => (
            <li key={i} title={one.detail}><i className="dot" data-health={one.health} /><strong>{one.name}</strong>
              {one.simulated && <em>simulated</em>}<span>{one.health}</span></li>
          ))}</ul>
        </section>
      )}
      <section><h3>Waiting for you {state.approvals.length + state.notices.length > 0 && <small>{state.approvals.length + state.notices.length}</small>}</h3>
        {state.approvals.length + state.notices.length === 0 && <p className="dim">No approvals wait.</p>}
        <ul className="asks">{state.approvals.map((one) => (
          <li key={one.id}><i className="dot" data-health={one.level === "normal" ? "slow" : "down"} />
            <span className="ask"><code>{one.tool}</code>{one.what && <em>{plain(one.what)}</em>}<small>{plain(one.asked_by)}</small></span>
            {one.session_id ? <a href={`/thread/${one.session_id}`}>open</a>
              : <a href={`/api/approvals/${one.id}/page`}>decide</a>}</li>
        ))}</ul>
        {state.notices.length > 0 && <ul className="asks">{state.notices.map((one) => <Notice key={one.id} notice={one} read={() => setTimes((n) => n + 1)} />)}</ul>}
        {state.approvals.length > 1 && <p className="dim"><a href="/api/approvals/inbox">All of them on one page</a></p>}
        {state.offers.map((one) => <Offer key={one.id} offer={one} read={() => setTimes((n) => n + 1)} />)}
      </section>
      {state.agents && (
        <section><h3>Agents</h3>
          {state.agents.length === 0 && <p className="dim">None runs, and none was switched off by failures.</p>}
          <ul className="jobs">{state.agents.map((one) => (
            <li key={one.id} data-agent={one.id} data-state={one.state}>
              <div className="line"><i className="dot" data-health={AGENT[one.state][1]} /><strong>{plain(one.name)}</strong>{one.owner && <em>{plain(one.owner)}</em>}<span>{AGENT[one.state][0]}</span></div>
              <div className="line dim"><span>{plain(one.said)}</span>{one.session_id && <a href={`/thread/${encodeURIComponent(one.session_id)}`}>{one.state === "waiting" ? "decide" : "open"}</a>}</div>
            </li>
          ))}</ul>
        </section>
      )}
      {state.jobs && (
        <section><h3>Jobs</h3>
          {state.jobs.length === 0 && <p className="dim">Nothing runs or waits. Long work shows up here.</p>}
          <ul className="jobs">{state.jobs.map((job) => <JobLine key={job.id} job={job} read={() => setTimes((n) => n + 1)} />)}</ul>
        </section>
      )}
      <Looking />
    </div>
  )
}
