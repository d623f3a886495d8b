// A question to a person about one exact call. Everything on it comes from the approval's row.
import { useEffect, useRef, useState } from "react"
import { ShieldAlert, ShieldCheck, ShieldX, PencilLine, Clock } from "lucide-react"
import { Button } from "@/components/ui/button"
import { Textarea } from "@/components/ui/textarea"

const TITLES = {
  pending: "Your decision is needed",
  approved: "Approved",
  used: "Approved",
  denied: "Denied",
  changes_requested: "Changes requested",
  expired: "Expired without a decision",
}
const ICONS = { pending: ShieldAlert, approved: ShieldCheck, used: ShieldCheck, changes_requested: PencilLine }
const EFFECTS = {
  read: "reads",
  write: "changes something",
  destructive: "cannot be undone, is expensive, or is seen outside",
}

// Control, zero-width and text-direction characters would let a value pretend to be another.
function plain(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2)
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g,
    (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"))
}

function left(until, now) {
  const seconds = Math.max(0, Math.round((new Date(until) - now) / 1000))
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`
}

export default function ApprovalCard() {
  const [row, setRow] = useState(null)
  const [now, setNow] = useState(() => new Date())
  const [note, setNote] = useState("")
  const [asking, setAsking] = useState(false)
  const [sending, setSending] = useState("")
  const [problem, setProblem] = useState("")
  const before = useRef(null)
  const id = props.approval_id
  const shown = row || { ...props, state: null }
  const state = row?.state
  const pending = state === "pending" && new Date(shown.expires_at) > now

  const read = async () => {
    try {
      const answer = await fetch(`/api/approvals/${encodeURIComponent(id)}`, { credentials: "same-origin" })
      if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail || "The approval cannot be read.")
      setRow(await answer.json())
      setProblem("")
    } catch (error) { setProblem(error.message) }
  }

  useEffect(() => { read() }, [id])
  useEffect(() => {
    if (state && state !== "pending") return
    const timer = setInterval(() => { setNow(new Date()); if (Date.now() % 3000 < 1000) read() }, 1000)
    return () => clearInterval(timer)
  }, [state])
  useEffect(() => {
    // Decided through another door while this page looked on: go on here.
    const elsewhere = before.current === "pending" && state && state !== "pending" && !sending
    if (elsewhere && state !== "expired") callAction({ name: "resume", payload: { id } })
    if (state) before.current = state
  }, [state])

  const decide = async (decision) => {
    setSending(decision)
    setProblem("")
    try {
      const answer = await callAction({ name: "decide", payload: { id, decision, comment: note } })
      const { approval, error } = answer?.response || {}
      if (approval) { before.current = approval.state; setRow(approval) }
      else { setProblem([error?.detail, error?.hint].filter(Boolean).join(" ") || "That did not arrive. Try again."); await read() }
    } catch { setProblem("That did not arrive. Try again.") }
    setSending("")
  }

  const Icon = ICONS[state || "pending"] || ShieldX
  const tone = !state || state === "pending" ? "open" : state === "approved" || state === "used" ? "good" : "closed"
  const entries = Object.entries(shown.arguments || {})

  return (
    <section className={`nebula-card approval ${tone}`} data-approval={id} data-state={state || ""} aria-label="Approval">
      <header>
        <Icon className="h-5 w-5" aria-hidden="true" />
        <strong>{TITLES[state] || TITLES.pending}</strong>
        {pending && <span className="clock" title="Time left to decide"><Clock className="h-3.5 w-3.5" aria-hidden="true" />{left(shown.expires_at, now)}</span>}
      </header>
      <div className="call">
        <code className="tool">{plain(shown.tool)}</code>
        <span className={`effect ${shown.effect}`} title={EFFECTS[shown.effect]}>{shown.effect}</span>
      </div>
      {shown.reason && <p className="reason">{plain(shown.reason)}</p>}
      <dl>
        {entries.length === 0 && <div><dt>arguments</dt><dd>none</dd></div>}
        {entries.map(([name, value]) => (
          <div key={name}><dt>{plain(name)}</dt><dd><pre>{plain(value)}</pre></dd></div>
        ))}
      </dl>
      {pending && asking && (
        <Textarea value={note} onChange={(e) => setNote(e.target.value)} autoFocus rows={2}
          placeholder="What should change?" aria-label="What should change?" />
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
              <Button size="sm" disabled={!!sending} onClick={() => decide("approve")}>{sending === "approve" ? "Approving…" : "Approve"}</Button>
              <Button size="sm" variant="outline" disabled={!!sending} onClick={() => decide("deny")}>{sending === "deny" ? "Denying…" : "Deny"}</Button>
              <Button size="sm" variant="ghost" disabled={!!sending} onClick={() => setAsking(true)}>Request changes</Button>
            </>
          )}
        </footer>
      )}
      {row?.decided_by && (
        <p className="decided">by {plain(row.decided_by)} · {plain(row.decided_where || "")}{row.comment ? `: “${plain(row.comment)}”` : ""}</p>
      )}
      {problem && <p className="problem" role="alert">{problem}</p>}
    </section>
  )
}
