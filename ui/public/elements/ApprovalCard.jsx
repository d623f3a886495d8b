// A question to a person about one exact call. Everything on it comes from the approval's row.
import { useEffect, useId, useRef, useState } from "react"
import { ShieldAlert, ShieldCheck, ShieldX, PencilLine, Clock, TriangleAlert, Users } from "lucide-react"
import { Button } from "@/components/ui/button"
import { Textarea } from "@/components/ui/textarea"
import { Input } from "@/components/ui/input"

const { inFull } = window.nebula

const STATES = {
  pending: "Your decision is needed",
  approved: "Approved",
  used: "Approved and run",
  denied: "Denied",
  changes_requested: "Changes requested",
  expired: "Expired without a run",
  withdrawn: "No longer needed",
}
const ICONS = { pending: ShieldAlert, approved: ShieldCheck, used: ShieldCheck, changes_requested: PencilLine }
const LEVELS = {
  normal: ["changes something", "It can be undone."],
  destructive: ["cannot be undone", "It cannot be undone, is expensive, or is seen outside."],
  critical: ["critical", "It weighs most: approving it needs a fresh sign-in."],
}
const ORIGINS = {
  words: ["in the request", "The person named it in so many words."],
  registry: ["known here", "The operator's own files or tables name it."],
  default: ["default", "It was left out, so the tool's own default holds."],
  endorsed: ["vouched for", "A person vouched for this value."],
  unknown: ["origin unknown", "Neither the person nor the operator's files named it: look twice."],
}
const WHERE = { chat: "in the chat", rest: "over REST", mcp: "over MCP", terminal: "at the terminal", schedule: "on a schedule", discord: "on Discord" }
const FALLBACK_MS = 15000

// Control, zero-width and text-direction characters would let a value pretend to be another.
function plain(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2)
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb]/g,
    (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"))
}

function left(until, now) {
  const seconds = Math.max(0, Math.round((new Date(until) - now) / 1000))
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`
}

// Our own Markdown as text: only bold is kept, and nothing of it can become an element.
function Said({ text }) {
  const parts = plain(text).split(/\*\*(.+?)\*\*/g)
  return <p>{parts.map((part, i) => i % 2 ? <strong key={i}>{bare(part)}</strong> : bare(part))}</p>
}
const bare = (text) => text.replace(/\\([^\w\s])/g, "$1")

function Preview({ blocks }) {
  return blocks.map((block, i) => {
    if (block.kind === "markdown") return <Said key={i} text={block.text} />
    if (block.kind !== "table") return null
    return (
      <div key={i} className="table">
        <table>
          {block.title && <caption>{plain(block.title)}</caption>}
          {block.columns.some((name) => name.trim()) && (
            <thead><tr>{block.columns.map((name, c) => <th key={c} scope="col">{plain(name)}</th>)}</tr></thead>
          )}
          <tbody>{block.rows.map((row, r) => (
            <tr key={r}>{row.map((cell, c) => c === 0 ? <th key={c} scope="row">{plain(cell)}</th> : <td key={c}>{plain(cell)}</td>)}</tr>
          ))}</tbody>
        </table>
      </div>
    )
  })
}

function Argument({ name, value, origin }) {
  const [label, why] = ORIGINS[origin] || []
  return (
    <div>
      <dt>{plain(name)}</dt>
      <dd><pre>{value === null ? "left out" : plain(value)}</pre>
        {label && <span className="origin" data-origin={origin} title={why}>{label}</span>}</dd>
    </div>
  )
}

export default function ApprovalCard() {
  const [row, setRow] = useState(null)
  const [now, setNow] = useState(() => new Date())
  const [note, setNote] = useState("")
  const [password, setPassword] = useState("")
  const [asking, setAsking] = useState(false)
  const [sending, setSending] = useState("")
  const [problem, setProblem] = useState("")
  const before = useRef(null)
  const heading = useId()
  const id = props.approval_id
  const shown = row || { ...props, state: null }
  const evidence = shown.evidence || {}
  const state = row?.state === "pending" && new Date(row.expires_at) <= now ? "expired" : row?.state
  const pending = state === "pending"
  const level = LEVELS[shown.level] ? shown.level : shown.effect === "destructive" ? "destructive" : "normal"
  const outside = shown.by_model && (shown.labels || []).includes("outside")
  const fresh = row?.barred === "fresh_sign_in"
  const barred = row?.barred && !fresh

  const read = async () => {
    try {
      const answer = await fetch(`/api/approvals/${encodeURIComponent(id)}`, { credentials: "same-origin" })
      if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail || "The approval cannot be read.")
      setRow(await answer.json())
    } catch (error) { setProblem(error.message) }
  }

  useEffect(() => { read() }, [id])
  useEffect(() => {
    if (row && row.state !== "pending") return
    const heard = (event) => {
      if (event.origin === location.origin && event.data?.nebula === "approvals" && event.data.id === id) read()
    }
    window.addEventListener("message", heard)
    const tick = setInterval(() => setNow(new Date()), 1000)
    const look = setInterval(read, FALLBACK_MS)
    return () => { window.removeEventListener("message", heard); clearInterval(tick); clearInterval(look) }
  }, [row?.state])
  useEffect(() => {
    // Decided through another door while this page looked on: go on here.
    const elsewhere = before.current === "pending" && row?.state && row.state !== "pending" && !sending
    if (elsewhere && !["expired", "withdrawn"].includes(row.state)) callAction({ name: "resume", payload: { id } })
    if (row?.state) before.current = row.state
  }, [row?.state])

  const confirm = async () => {
    const answer = await fetch("/api/auth/confirm", {
      method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ password }),
    })
    if (answer.ok) { setPassword(""); return true }
    const error = await answer.json().catch(() => ({}))
    setProblem(inFull(error))
    return false
  }

  const decide = async (decision) => {
    setSending(decision)
    setProblem("")
    try {
      if (decision !== "approve" || !fresh || await confirm()) {
        const answer = await callAction({ name: "decide", payload: { id, decision, comment: note } })
        const { approval, error } = answer?.response || {}
        if (approval) { before.current = approval.state; setRow({ ...approval, barred: null }) }
        else {
          await read()
          setProblem(inFull(error) || "That did not arrive. Try again.")
        }
      }
    } catch { setProblem("That did not arrive. Try again.") }
    setSending("")
  }
  const approve = (event) => { event.preventDefault(); if (!fresh || password) decide("approve") }

  const Icon = ICONS[state || "pending"] || ShieldX
  const tone = !state || pending ? "open" : state === "approved" || state === "used" ? "good" : "closed"
  const entries = Object.entries(shown.arguments || {})
  const bound = Object.entries(shown.resources || {})

  return (
    <section className={`nebula-card approval ${tone}`} data-approval={id} data-state={state || ""} data-level={level} aria-labelledby={heading}>
      <header>
        <Icon className="h-5 w-5" aria-hidden="true" />
        <span className="state">{STATES[state] || STATES.pending}</span>
        {pending && <span className="clock" title="Time left to decide"><Clock className="h-3.5 w-3.5" aria-hidden="true" />{left(shown.expires_at, now)}</span>}
      </header>
      <h3 id={heading}>{plain(evidence.title || shown.tool)}</h3>
      <div className="call">
        <code className="tool">{plain(shown.tool)}</code>
        <span className="effect" data-level={level} title={LEVELS[level][1]}>{LEVELS[level][0]}</span>
        {shown.principal_name && <span className="who">{plain(shown.by_model ? shown.agent || "Jarvis" : shown.principal_name)}{shown.by_model ? ` for ${plain(shown.principal_name)}` : ""} {WHERE[shown.surface] || ""}</span>}
      </div>
      {shown.reason && <p className="reason">{plain(shown.reason)}</p>}
      {pending && outside && (
        <p className="warning"><TriangleAlert className="h-4 w-4" aria-hidden="true" />Text from outside was read before this was asked. Check every value.</p>
      )}
      <dl>
        {entries.length === 0 && <div><dt>arguments</dt><dd>none</dd></div>}
        {entries.map(([name, value]) => <Argument key={name} name={name} value={value} origin={(evidence.origins || {})[name]} />)}
      </dl>
      {(evidence.preview || []).length > 0 && <div className="preview"><h4>What will happen</h4><Preview blocks={evidence.preview} /></div>}
      {evidence.no_preview && <p className="reason">No preview: {plain(evidence.no_preview)}</p>}
      {row && (
        <details>
          <summary>What this is bound to</summary>
          <ul>
            {bound.map(([name, version]) => <li key={name}><span>{plain(name)}</span> <code>{plain(version)}</code></li>)}
            <li><span>rule</span> <code>{plain(row.rule)}</code></li>
            <li><span>fingerprint</span> <code>{plain(row.sha256.slice(0, 16))}</code></li>
          </ul>
        </details>
      )}
      {pending && barred && <p className="warning barred" role="status"><Users className="h-4 w-4" aria-hidden="true" /><span>{plain(row.barred_because)}{row.barred === "second_person" && " You may deny it, or ask for the same yourself in a new conversation."}</span></p>}
      {pending && asking && (
        <Textarea value={note} onChange={(e) => setNote(e.target.value)} autoFocus rows={2} maxLength={2000}
          placeholder="What should change?" aria-label="What should change?" />
      )}
      {pending && !asking && fresh && (
        <form className="confirm" onSubmit={approve}>
          <label htmlFor={`${heading}-password`}>This is critical: give your password to approve it.</label>
          <Input id={`${heading}-password`} type="password" autoComplete="current-password" value={password}
            placeholder="Your password" onChange={(e) => setPassword(e.target.value)} />
        </form>
      )}
      {pending && (
        <footer>
          {asking ? (
            <>
              <Button size="sm" disabled={!!sending || !note.trim()} onClick={() => decide("request_changes")}>Send</Button>
              <Button size="sm" variant="ghost" disabled={!!sending} onClick={() => setAsking(false)}>Back</Button>
            </>
          ) : (
            <>
              <Button size="sm" disabled={!!sending || !!barred || (fresh && !password)} onClick={() => decide("approve")}>{sending === "approve" ? "Approving…" : "Approve"}</Button>
              <Button size="sm" variant="outline" disabled={!!sending} onClick={() => decide("deny")}>{sending === "deny" ? "Denying…" : "Deny"}</Button>
              <Button size="sm" variant="ghost" disabled={!!sending} onClick={() => setAsking(true)}>Request changes</Button>
            </>
          )}
        </footer>
      )}
      {state === "withdrawn" && <p className="decided">{plain(row.comment)}</p>}
      {row?.decided_by && state !== "withdrawn" && (
        <p className="decided">by {plain(row.decided_by)} {WHERE[row.decided_where] || plain(row.decided_where || "")}{row.comment ? `: “${plain(row.comment)}”` : ""}</p>
      )}
      {problem && <p className="problem" role="alert">{plain(problem)}</p>}
    </section>
  )
}
