// The workflows there are: switched, run, opened and edited here; kept fresh by the server.
import { useEffect, useId, useState } from "react"
import { useChatData } from "@chainlit/react-client"
import { ChevronDown, CircleAlert, FlaskConical, PencilLine, Play, Plus, Trash2, Workflow } from "lucide-react"
import { Button } from "@/components/ui/button"
import { Switch } from "@/components/ui/switch"

const { plain, read, call, follow, moment, away, inFull, wordOf } = window.nebula
const show = (view, of, title) => callAction({ name: "beside", payload: { view, of, title } })
const GOING = new Set(["queued", "running", "waiting"])

function State({ run }) {
  if (!run) return <span className="chip">never ran</span>
  return <span className="chip" data-state={run.state}>{run.dry_run ? "dry run " : ""}{run.state === "queued" ? "in line" : wordOf(run.state)}</span>
}

function Card({ line, may, busy, act, run }) {
  const { workflow, last, mine } = line
  const inputs = Object.entries(workflow.inputs)
  return (
    <div className="details">
      {!workflow.enabled && <p className="note" data-tone={workflow.failures ? "bad" : undefined}><CircleAlert className="h-4 w-4" aria-hidden="true" />Switched off: {plain(workflow.stopped_because)}</p>}
      {last?.state === "waiting" && <p className="note"><CircleAlert className="h-4 w-4" aria-hidden="true" /><span>A run waits. Open it to see for what.</span></p>}
      {last?.state === "failed" && <p className="note" data-tone="bad"><CircleAlert className="h-4 w-4" aria-hidden="true" /><span>{plain(last.problem)}</span></p>}
      {workflow.description && <p className="purpose">{plain(workflow.description)}</p>}
      <dl>
        <div><dt>Runs</dt><dd>{plain(workflow.when)}{workflow.next_run_at && <span className="times">{moment(workflow.next_run_at)}</span>}</dd></div>
        <div><dt>Last run</dt><dd>{last ? `${wordOf(last.state)}, ${away(last.created_at)}, by ${plain(last.started_by)}` : "never"}</dd></div>
        {inputs.length > 0 && <div><dt>Inputs</dt><dd className="chips">{inputs.map(([name, kind]) => <code key={name}>{plain(name)}: {kind}</code>)}</dd></div>}
        <div><dt>May</dt><dd className="chips">{workflow.rights.map((one) => <code key={one}>{plain(one)}</code>)}</dd></div>
        <div><dt>Steps</dt><dd>{workflow.steps}, version {workflow.version}{!mine && `, of ${plain(workflow.owner_name)}`}</dd></div>
      </dl>
      <footer>
        <Button size="sm" onClick={() => show("workflow", `${workflow.id}:${last?.id || ""}`, workflow.name)}><Workflow className="h-4 w-4" aria-hidden="true" />Open</Button>
        {may && <Button size="sm" variant="outline" disabled={busy || !workflow.enabled} onClick={() => run(workflow, false)}><Play className="h-4 w-4" aria-hidden="true" />{inputs.length > 0 ? "Run…" : "Run"}</Button>}
        {may && inputs.length === 0 && <Button size="sm" variant="outline" disabled={busy} onClick={() => run(workflow, true)}><FlaskConical className="h-4 w-4" aria-hidden="true" />Dry run</Button>}
        {may && mine && <Button size="sm" variant="outline" onClick={() => show("workflow-editor", workflow.id, `Edit ${workflow.name}`)}><PencilLine className="h-4 w-4" aria-hidden="true" />Edit</Button>}
        {may && <Button size="sm" variant="ghost" className="delete" disabled={busy || (last && GOING.has(last.state))} onClick={() => act("workflows_delete", { workflow: workflow.id }, workflow)}><Trash2 className="h-4 w-4" aria-hidden="true" />Delete</Button>}
      </footer>
    </div>
  )
}

function Row({ line, may, open, toggle, busy, act, run }) {
  const id = useId()
  const { workflow, last, mine } = line
  const name = plain(workflow.name)
  const next = workflow.enabled ? (workflow.next_run_at ? `next ${away(workflow.next_run_at)}` : plain(workflow.when)) : "switched off"
  return (
    <li className="agent" data-workflow={workflow.id} data-name={workflow.name} data-on={workflow.enabled || undefined}>
      <div className="head">
        <button type="button" className="open" aria-expanded={open} aria-controls={id} onClick={toggle}>
          <span className="title"><strong>{name}</strong><State run={last} /></span>
          <span className="next" title={workflow.next_run_at ? moment(workflow.next_run_at) : undefined}>{next}{!mine && ` · of ${plain(workflow.owner_name)}`}</span>
          <span className="line">{plain(workflow.description)}</span>
        </button>
        {may && <button type="button" className="quick" title="Run" aria-label={`Run ${name}`} disabled={busy || !workflow.enabled} onClick={() => run(workflow, false)}><Play className="h-4 w-4" aria-hidden="true" /></button>}
        <Switch checked={workflow.enabled} disabled={busy || !may} aria-label={`${name} is switched on`}
          onCheckedChange={(on) => act("workflows_update", { workflow: workflow.id, action: on ? "resume" : "pause" }, workflow)} />
        <ChevronDown className="fold h-4 w-4" data-open={open || undefined} aria-hidden="true" />
      </div>
      <div id={id} hidden={!open}>{open && <Card line={line} may={may} busy={busy} act={act} run={run} />}</div>
    </li>
  )
}

function Ready({ one, busy, take }) {
  return (
    <li className="ready" data-ready={one.name}>
      <div><strong>{plain(one.name)}</strong><span className="next">{plain(one.when)}</span><span className="line">{plain(one.description)}</span></div>
      <span className="ways">
        <Button size="sm" variant="ghost" onClick={() => show("workflow-editor", `ready:${one.name}`, "New workflow")} aria-label={`Adapt ${one.name}`}>Adapt</Button>
        <Button size="sm" variant="outline" disabled={busy} onClick={take} aria-label={`Switch on ${one.name}`}>Switch on</Button>
      </span>
    </li>
  )
}

export default function WorkflowBoard() {
  const { connected } = useChatData()
  const [data, setData] = useState(null)
  const [open, setOpen] = useState("")
  const [busy, setBusy] = useState("")
  const [said, setSaid] = useState("")
  const [problem, setProblem] = useState("")
  const [lost, setLost] = useState("")
  const heading = useId()

  const look = async () => {
    try { setData(await read("/ui/workflows")); setLost("") } catch (error) { setLost(error.message) }
  }
  useEffect(() => follow("workflows", look), [connected])

  const act = async (tool, given, workflow) => {
    setBusy(workflow?.id || given.from_ready)
    setSaid("")
    setProblem("")
    const { result, error, waiting } = await call(callAction, tool, given)
    await look()
    if (error) setProblem(inFull(error))
    if (waiting) setSaid(`Deleting ${plain(workflow.name)} waits for your approval: its card is in the chat.`)
    if (result && tool === "workflows_run") show("workflow", `${workflow.id}:${result.run.id}`, workflow.name)
    if (result && tool === "workflows_create") setOpen(result.workflow.id)
    setBusy("")
  }
  // What has inputs asks for them first, where its picture is: anew each time, also when that is open.
  const run = (workflow, dry) => Object.keys(workflow.inputs).length > 0 ? show("workflow", `${workflow.id}::ask:${Date.now() % 1e6}`, workflow.name)
    : act("workflows_run", { workflow: workflow.id, ...(dry ? { dry_run: true } : {}) }, workflow)

  if (!data) return <section className="nebula-card agents workflows"><p className="dim">{plain(lost) || "Reading…"}</p></section>
  const { workflows, ready, may_change: may } = data
  return (
    <section className="nebula-card agents workflows" aria-labelledby={heading}>
      <header>
        <Workflow className="h-5 w-5" aria-hidden="true" />
        <h3 id={heading}>Workflows</h3>
        <span className="dim">{workflows.filter((one) => one.workflow.enabled).length} of {workflows.length} switched on</span>
        {may && <Button size="sm" className="new" onClick={() => show("workflow-editor", "", "New workflow")}><Plus className="h-4 w-4" aria-hidden="true" />New workflow</Button>}
      </header>
      {(lost || problem) && <p className="problem" role="alert">{plain(lost || problem)}</p>}
      <p className="said" role="status" hidden={!said}>{said}</p>
      {workflows.length === 0 && <p className="empty">{may ? "No workflows yet. Switch on a ready-made one below, or write your own." : "No workflows yet."}</p>}
      {workflows.length > 0 && <ul aria-label="Workflows">{workflows.map((line) => (
        <Row key={line.workflow.id} line={line} may={may} open={open === line.workflow.id} toggle={() => setOpen(open === line.workflow.id ? "" : line.workflow.id)}
          busy={busy === line.workflow.id} act={act} run={run} />
      ))}</ul>}
      {may && ready.length > 0 && (
        <>
          <h4>Ready-made</h4>
          <ul aria-label="Ready-made workflows">{ready.map((one) => <Ready key={one.name} one={one} busy={busy === one.name} take={() => act("workflows_create", { from_ready: one.name })} />)}</ul>
        </>
      )}
    </section>
  )
}
