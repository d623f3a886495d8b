// The agents that run by themselves: their list, and each one's card; kept fresh by the server.
import { useEffect, useId, useState } from "react"
import { useChatData } from "@chainlit/react-client"
import { Bot, ChevronDown, CircleAlert, FlaskConical, History, Pause, PencilLine, Play, Plus, Trash2 } from "lucide-react"
import { Button } from "@/components/ui/button"
import { Switch } from "@/components/ui/switch"

const { plain, read, call, follow, moment, away, inFull } = window.nebula
const STATES = {
  queued: "in line", running: "running", waiting: "waits for you", done: "done", failed: "failed",
  stopped: "stopped", cancelled: "cancelled", skipped: "skipped",
}
const ALONE = props.view === "agent" ? props.of : ""
const count = (number) => Number(number).toLocaleString("en-US")
const show = (view, of, title) => callAction({ name: "beside", payload: { view, of, title } })

function State({ run }) {
  if (!run) return <span className="chip">never ran</span>
  return <span className="chip" data-state={run.state}>{run.dry_run ? "dry run " : ""}{STATES[run.state] || run.state}</span>
}

function Used({ label, used, most, unit }) {
  const share = most ? Math.min(100, Math.round((Number(used) / Number(most)) * 100)) : null
  return (
    <div className="used">
      <span>{label}</span>
      <span>{count(used)}{most != null && ` of ${count(most)}`}{unit || ""}</span>
      {share != null && <div className="bar" role="progressbar" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={share} data-full={share > 88 || undefined}><i style={{ width: `${share}%` }} /></div>}
    </div>
  )
}

function Card({ agent, mine, may, busy, act }) {
  const { limits, used, last_run: last } = agent
  const going = last && ["queued", "running", "waiting"].includes(last.state)
  const name = agent.name
  return (
    <div className="details">
      {!agent.enabled && <p className="note" data-tone={agent.failures ? "bad" : undefined}><CircleAlert className="h-4 w-4" aria-hidden="true" />Switched off: {plain(agent.stopped_because)}</p>}
      {agent.enabled && agent.not_before && new Date(agent.not_before) > new Date() && <p className="note"><CircleAlert className="h-4 w-4" aria-hidden="true" />It failed and waits until {moment(agent.not_before)} before it starts by itself.</p>}
      {last?.state === "waiting" && <p className="note"><CircleAlert className="h-4 w-4" aria-hidden="true" /><span>A run waits for your decision. <a href={`/thread/${encodeURIComponent(last.session_id)}`}>Open it</a></span></p>}
      <p className="purpose">{plain(agent.purpose)}</p>
      <dl>
        <div><dt>Runs</dt><dd>{plain(agent.when)}
          {agent.next_runs.length > 0 && <ol className="times">{agent.next_runs.map((at) => <li key={at}>{moment(at, agent.timezone)}</li>)}</ol>}</dd></div>
        <div><dt>May use</dt><dd className="chips">{agent.features.map((one) => <code key={`f-${one}`} title="All tools of this feature">{plain(one)} (all)</code>)}{agent.tools.map((one) => <code key={one}>{plain(one)}</code>)}</dd></div>
        <div><dt>A run has</dt><dd>{limits.steps} steps, {limits.minutes} min, {count(limits.tokens)} tokens, the {plain(agent.tier)} model</dd></div>
        <div><dt>Reports to</dt><dd>{agent.report_to ? `${plain(agent.report_to)} (${agent.report_when})` : "its conversation"}</dd></div>
        <div><dt>Owner</dt><dd>{mine ? "you" : plain(agent.owner_name)}</dd></div>
      </dl>
      <div className="today" role="group" aria-label="Used in 24 hours">
        <Used label="Runs today" used={used.runs} most={limits.runs_per_day} />
        <Used label="Tokens today" used={used.tokens} />
        {(limits.money_per_day != null || Number(used.money) > 0) && <Used label="Cost today" used={used.money} most={limits.money_per_day} />}
      </div>
      <footer>
        {may && <Button size="sm" disabled={busy || going || !agent.enabled} onClick={() => act("agents_run", { agent: agent.id }, agent)}><Play className="h-4 w-4" aria-hidden="true" />Run</Button>}
        {may && <Button size="sm" variant="outline" disabled={busy || going} onClick={() => act("agents_run", { agent: agent.id, dry_run: true }, agent)}><FlaskConical className="h-4 w-4" aria-hidden="true" />Dry run</Button>}
        {may && <Button size="sm" variant="outline" disabled={busy} onClick={() => act("agents_update", { agent: agent.id, action: agent.enabled ? "pause" : "resume" }, agent)}>{agent.enabled ? <><Pause className="h-4 w-4" aria-hidden="true" />Pause</> : <><Play className="h-4 w-4" aria-hidden="true" />Resume</>}</Button>}
        <Button size="sm" variant="outline" onClick={() => show("agent-runs", agent.id, `Runs of ${name}`)}><History className="h-4 w-4" aria-hidden="true" />History</Button>
        {may && mine && <Button size="sm" variant="outline" onClick={() => show("agent-form", agent.id, `Edit ${name}`)}><PencilLine className="h-4 w-4" aria-hidden="true" />Edit</Button>}
        {may && <Button size="sm" variant="ghost" className="delete" disabled={busy} onClick={() => act("agents_delete", { agent: agent.id }, agent)}><Trash2 className="h-4 w-4" aria-hidden="true" />Delete</Button>}
      </footer>
    </div>
  )
}

function Row({ agent, mine, may, open, toggle, busy, act }) {
  const id = useId()
  const name = plain(agent.name)
  const next = agent.enabled ? (agent.next_run_at ? `next ${away(agent.next_run_at)}` : plain(agent.when)) : "switched off"
  return (
    <li className="agent" data-agent={agent.id} data-name={agent.name} data-on={agent.enabled || undefined}>
      <div className="head">
        <button type="button" className="open" aria-expanded={open} aria-controls={id} onClick={toggle} disabled={!!ALONE}>
          <span className="title"><strong>{name}</strong><State run={agent.last_run} /></span>
          <span className="next" title={agent.next_run_at ? moment(agent.next_run_at) : undefined}>{next}{!mine && ` · of ${plain(agent.owner_name)}`}</span>
          <span className="line">{plain(agent.purpose)}</span>
        </button>
        <Switch checked={agent.enabled} disabled={busy || !may} aria-label={`${name} is switched on`}
          onCheckedChange={(on) => act("agents_update", { agent: agent.id, action: on ? "resume" : "pause" }, agent)} />
        {!ALONE && <ChevronDown className="fold h-4 w-4" data-open={open || undefined} aria-hidden="true" />}
      </div>
      <div id={id} hidden={!open}>{open && <Card agent={agent} mine={mine} may={may} busy={busy} act={act} />}</div>
    </li>
  )
}

function Ready({ one, busy, take }) {
  return (
    <li className="ready" data-ready={one.name}>
      <div><strong>{plain(one.name)}</strong><span className="next">{plain(one.when)}</span><span className="line">{plain(one.purpose)}</span></div>
      <Button size="sm" variant="outline" disabled={busy} onClick={take} aria-label={`Switch on ${one.name}`}>Switch on</Button>
    </li>
  )
}

export default function AgentBoard() {
  const { connected } = useChatData()
  const [data, setData] = useState(null)
  const [open, setOpen] = useState(ALONE)
  const [busy, setBusy] = useState("")
  const [said, setSaid] = useState("")
  const [problem, setProblem] = useState("")
  const [lost, setLost] = useState("")
  const heading = useId()

  const look = async () => {
    try { setData(await read("/ui/agents")); setLost("") } catch (error) { setLost(error.message) }
  }
  useEffect(() => follow("agents", look), [connected])

  const act = async (tool, given, agent) => {
    setBusy(agent?.id || given.from_ready)
    setSaid("")
    setProblem("")
    const { result, error, waiting } = await call(callAction, tool, given)
    if (error) setProblem(inFull(error))
    if (waiting) setSaid(`Deleting ${plain(agent.name)} waits for your approval: its card is in the chat.`)
    if (result && tool === "agents_run") show("agent-runs", result.run.id, `${given.dry_run ? "Dry run" : "Run"} of ${agent.name}`)
    if (result && tool === "agents_create") setOpen(result.agent.id)
    await look()
    setBusy("")
  }

  if (!data) return <section className="nebula-card agents"><p className="dim">{plain(lost) || "Reading…"}</p></section>
  const shown = ALONE ? data.agents.filter((one) => one.id === ALONE) : data.agents
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC"
  return (
    <section className="nebula-card agents" aria-labelledby={heading}>
      <header>
        <Bot className="h-5 w-5" aria-hidden="true" />
        <h3 id={heading}>{ALONE ? "Agent" : "Agents"}</h3>
        {!ALONE && <span className="dim">{shown.filter((one) => one.enabled).length} of {shown.length} switched on</span>}
        {!ALONE && data.may_change && <Button size="sm" className="new" onClick={() => show("agent-form", "", "New agent")}><Plus className="h-4 w-4" aria-hidden="true" />New agent</Button>}
      </header>
      {(lost || problem) && <p className="problem" role="alert">{plain(lost || problem)}</p>}
      <p className="said" role="status" hidden={!said}>{said}</p>
      {shown.length === 0 && <p className="empty">{ALONE ? "This agent is not there any more." : data.may_change ? "No agents yet. Switch on a ready-made one below, or make your own." : "No agents yet."}</p>}
      {shown.length > 0 && <ul>{shown.map((agent) => (
        <Row key={agent.id} agent={agent} mine={agent.owner_id === data.me} may={data.may_change} open={open === agent.id}
          toggle={() => setOpen(open === agent.id ? "" : agent.id)} busy={busy === agent.id} act={act} />
      ))}</ul>}
      {!ALONE && data.may_change && data.ready.length > 0 && (
        <>
          <h4>Ready-made</h4>
          <ul>{data.ready.map((one) => <Ready key={one.name} one={one} busy={busy === one.name}
            take={() => act("agents_create", { from_ready: one.name, timezone: zone })} />)}</ul>
        </>
      )}
    </section>
  )
}
