// A workflow or one run of it: its picture, the form that starts it, and what its runs did.
import { createElement, useEffect, useId, useRef, useState } from "react"
import { useChatData } from "@chainlit/react-client"
import { Ban, CircleCheck, CircleHelp, CircleX, Clock, FlaskConical, LoaderCircle, PencilLine, Play, RotateCcw, ShieldAlert, Square } from "lucide-react"
import { Button } from "@/components/ui/button"
import { Input } from "@/components/ui/input"
import { Textarea } from "@/components/ui/textarea"

const { plain, read, call, follow, watch, span, away, moment, inFull, picture, wordOf } = window.nebula
const GOING = new Set(["queued", "running", "waiting"])
const ICONS = { queued: Clock, running: LoaderCircle, waiting: ShieldAlert, done: CircleCheck, failed: CircleX, cancelled: Ban, skipped: Ban, unknown: CircleHelp }
const AGAIN = { failed: "Retry from the failed step", cancelled: "Go on where it stopped" }
// A workflow keeps no secrets; a value that is called like one is never shown, and not kept here.
const secret = (name) => /pass(word|phrase)|secret|token|api_?key|credential/i.test(name)
const written = (value) => (value == null ? "" : typeof value === "string" ? value : JSON.stringify(value))
const shortly = (value) => { const text = plain(written(value)); return text.length > 160 ? `${text.slice(0, 159)}…` : text }

// Reads what somebody typed for an input of a type; throws what is wrong with it.
function typed(kind, text) {
  if (kind === "text") return text
  if (kind === "boolean") return text === "true"
  if (kind === "integer" || kind === "number") {
    const number = Number(text)
    if (!Number.isFinite(number) || (kind === "integer" && !Number.isInteger(number))) throw new Error(kind === "integer" ? "A whole number is needed here." : "A number is needed here.")
    return number
  }
  if (kind === "list" && !text.trim().startsWith("[")) return text.split("\n").map((line) => line.trim()).filter(Boolean)
  try {
    const value = JSON.parse(text)
    if (Array.isArray(value) === (kind === "list") && value !== null && typeof value === "object") return value
  } catch { /* said below */ }
  throw new Error(kind === "list" ? "One entry on each line, or a JSON list." : 'A JSON object is needed here, such as {"name": "value"}.')
}

// By input what is wrong with it; else the values that differ from the defaults.
function collected(inputs, values) {
  const given = {}, problems = {}
  for (const [name, one] of Object.entries(inputs)) {
    const text = values[name] ?? "", asBefore = text === written(one.default)
    if (text.trim() === "" && one.required) problems[name] = "This is needed."
    else if (!asBefore && (text.trim() !== "" || one.type === "text")) {
      try { given[name] = one.choices.length > 0 ? one.choices.find((choice) => String(choice) === text) : typed(one.type, text) } catch (error) { problems[name] = error.message }
    }
  }
  return { given, problems }
}

function Value({ name, one, value, set, problem }) {
  const id = useId()
  const about = { id, "aria-invalid": problem ? true : undefined, "aria-required": one.required || undefined,
    "aria-describedby": [`${id}-hint`, problem && `${id}-problem`].filter(Boolean).join(" ") }
  const change = (event) => set(event.target.value)
  const choices = one.type === "boolean" ? ["true", "false"] : one.choices.map(String)
  const many = one.type === "list" || one.type === "object"
  return (
    <div className="field" data-field={name} data-wrong={problem ? "" : undefined}>
      <label htmlFor={id}>{plain(name)}{one.required && <span className="needed"> needed</span>}</label>
      {choices.length > 0 ? <select {...about} value={value} onChange={change}>{one.default == null && <option value="">{one.required ? "choose" : "left out"}</option>}{choices.map((choice) => <option key={choice} value={choice}>{one.type === "boolean" ? (choice === "true" ? "yes" : "no") : plain(choice)}</option>)}</select>
        : many ? <Textarea {...about} value={value} rows={3} spellCheck={false} className="mono" onChange={change} />
        : <Input {...about} value={value} type={secret(name) ? "password" : "text"} inputMode={{ integer: "numeric", number: "decimal" }[one.type]} autoComplete={secret(name) ? "new-password" : "off"} onChange={change} />}
      <p id={`${id}-hint`} className="hint">{[plain(one.description), one.type !== "text" && one.type !== "boolean" && choices.length === 0 && { integer: "a whole number", number: "a number", list: "one on each line", object: "as JSON" }[one.type],
        secret(name) && "never shown again; the run keeps it"].filter(Boolean).join(" · ")}</p>
      {problem && <p id={`${id}-problem`} className="problem" role="alert">{plain(problem)}</p>}
    </div>
  )
}

function RunForm({ name, inputs, busy, problems, setProblems, start, leave }) {
  const [values, setValues] = useState(() => Object.fromEntries(Object.entries(inputs).map(([one, { default: usual }]) => [one, written(usual)])))
  const form = useRef(null)
  useEffect(() => { form.current?.querySelector("input, select, textarea")?.focus() }, [])
  const [sent, setSent] = useState(0)
  useEffect(() => { form.current?.querySelector("[data-wrong] :is(input, select, textarea)")?.focus() }, [sent, busy])
  const send = (dry) => {
    const { given, problems: found } = collected(inputs, values)
    setProblems(found)
    setSent(sent + 1)
    if (Object.keys(found).length === 0) start(given, dry)
  }
  return (
    <form ref={form} className="inputs" aria-label={`Inputs of ${plain(name)}`} noValidate onSubmit={(event) => { event.preventDefault(); send(false) }}
      onKeyDown={(event) => event.key === "Escape" && leave()}>
      {Object.entries(inputs).map(([one, input]) => <Value key={one} name={one} one={input} value={values[one]} problem={problems[one]} set={(value) => { setValues((all) => ({ ...all, [one]: value })); setProblems(({ [one]: _, ...rest }) => rest) }} />)}
      <footer>
        <Button size="sm" type="submit" disabled={busy}><Play className="h-4 w-4" aria-hidden="true" />{busy ? "Starting…" : "Run with these"}</Button>
        <Button size="sm" type="button" variant="outline" disabled={busy} onClick={() => send(true)}><FlaskConical className="h-4 w-4" aria-hidden="true" />Dry run</Button>
        <Button size="sm" type="button" variant="ghost" onClick={leave}>Back</Button>
      </footer>
    </form>
  )
}

function Steps({ steps }) {
  return (
    <details className="trail"><summary>What each step did ({steps.length})</summary>
      <ol>{steps.map((step) => {
        const Icon = ICONS[step.state] || CircleHelp
        const parts = [["with", step.arguments], ["gave", step.result]].filter(([, value]) => value && Object.keys(value).length > 0)
        return (
          <li key={`${step.path}-${step.attempt}`} data-state={step.state}><Icon className="h-4 w-4" aria-hidden="true" />
            <span><code>{plain(step.path)}</code> <small>{[step.tool !== step.path && plain(step.tool), wordOf(step.state), step.attempt > 1 && `try ${step.attempt}`, step.ended_at && span((new Date(step.ended_at) - new Date(step.started_at)) / 1000)].filter(Boolean).join(" · ")}</small>
              {step.problem && <em className="problem">{plain(step.problem)}</em>}
              {parts.map(([word, value]) => <em key={word}>{word}: {Object.entries(value).map(([name, one]) => `${plain(name)} ${secret(name) ? "(hidden)" : shortly(one)}`).join(", ")}</em>)}</span></li>
        )
      })}</ol>
    </details>
  )
}

function History({ workflow, runs, shown, open }) {
  const [all, setAll] = useState(null)
  const [problem, setProblem] = useState("")
  const listed = all && all.length >= runs.length ? [...runs, ...all.filter((one) => !runs.some((run) => run.id === one.id))] : runs
  const more = () => read(`/ui/workflows/${encodeURIComponent(workflow.id)}/runs`).then((body) => setAll(body.runs), (error) => setProblem(error.message))
  if (runs.length === 0) return <p className="dim">It has not run yet.</p>
  return (
    <div className="history">
      <h4>Runs</h4>
      <ul aria-label={`Runs of ${plain(workflow.name)}`}>{listed.map((run) => {
        const Icon = ICONS[run.state] || CircleHelp
        return (
          <li key={run.id} data-run={run.id} data-state={run.state}><button type="button" aria-pressed={run.id === shown} onClick={() => open(run.id === shown ? "" : run.id)}>
            <Icon className={`h-4 w-4 ${run.state === "running" ? "animate-spin" : ""}`} aria-hidden="true" /><strong>{wordOf(run.state)}</strong>{run.dry_run && <span className="chip">dry run</span>}
            <span className="who">by {plain(run.started_by)}{run.seconds > 0 && `, worked ${span(run.seconds)}`}</span><time dateTime={run.created_at} title={moment(run.created_at)}>{away(run.created_at)}</time></button></li>
        )
      })}</ul>
      {!all && runs.length >= 10 && <Button size="sm" variant="ghost" onClick={more}>Earlier runs</Button>}
      {problem && <p className="problem" role="alert">{plain(problem)}</p>}
    </div>
  )
}

// A workflow or one run of it, read from the server and again whenever a step of it goes on.
function useLive(workflow, run) {
  const { connected } = useChatData()
  const [data, setData] = useState(null)
  const [lost, setLost] = useState("")
  const asked = useRef(0)
  const look = async () => {
    const nth = (asked.current += 1)
    try {
      const found = await read(`/ui/workflows/${encodeURIComponent(workflow)}?run=${encodeURIComponent(run)}`)
      // An answer that was overtaken shows another run, or an older state.
      if (nth === asked.current) { setData(found); setLost("") }
    } catch (error) { setLost(error.message) }
  }
  useEffect(() => follow("workflows", look), [connected, workflow, run])
  const going = GOING.has(data?.detail.run?.state)
  useEffect(() => {
    if (going) return watch(`workflow:${data.detail.workflow.id}`, data.number, ["workflow.step", "workflow.run"], look)
  }, [going, workflow, run])
  return { data, lost, look }
}

function Live({ of }) {
  const id = useId().replaceAll(":", "")
  const [first, begun, asks] = of.split(":")
  const [run, open] = useState(begun || "")
  const { data, lost, look } = useLive(first, run)
  const [problem, setProblem] = useState("")
  const [asking, setAsking] = useState(asks === "ask")
  const [wrong, setWrong] = useState({})
  const [busy, setBusy] = useState(false)
  const act = async (tool, given) => {
    setBusy(true)
    setProblem("")
    const { result, error, waiting } = await call(callAction, tool, given)
    const fields = (error?.fields || []).filter(({ field }) => field.startsWith("inputs."))
    setWrong(Object.fromEntries(fields.map(({ field, problem: said }) => [field.slice(7), said])))
    if (error && fields.length === 0) setProblem(inFull(error))
    if (waiting) setProblem("This waits for your approval: its card is in the chat.")
    if (result) { setAsking(false); open(result.run.id) }
    if (!result || result.run.id === run) await look()
    setBusy(false)
  }
  if (!data) return <figure className="nebula-card workflow"><p className="dim">{plain(lost) || "Reading…"}</p></figure>
  const { workflow, diagram, run: shown, steps, runs } = data.detail
  const asked = steps.filter((step) => step.state === "waiting" && step.approval_id)
  const going = shown && GOING.has(shown.state)
  const unknown = steps.some((step) => step.state === "unknown")
  const given = Object.entries(shown?.inputs || {}).filter(([, value]) => value != null && value !== "")
  const facts = shown && [`${shown.dry_run ? "dry run " : ""}${wordOf(shown.state)}`, `by ${plain(shown.started_by)}`, away(shown.created_at), shown.seconds > 0 && `worked ${span(shown.seconds)}`].filter(Boolean)
  const needs = Object.keys(data.inputs).length > 0
  const start = (inputs, dry) => act("workflows_run", { workflow: workflow.id, ...(Object.keys(inputs).length > 0 ? { inputs } : {}), ...(dry ? { dry_run: true } : {}) })
  const begin = (dry) => { if (needs) { setWrong({}); setAsking(true) } else start({}, dry) }
  return (
    <figure className="nebula-card workflow live" data-workflow={workflow.id} data-run={shown?.id} data-state={shown?.state} aria-labelledby={`${id}-title`}>
      <figcaption id={`${id}-title`}>{plain(workflow.name)}{!workflow.enabled && <small> switched off: {plain(workflow.stopped_because)}</small>}</figcaption>
      {facts ? <p className="facts" role="status">{facts.join(" · ")}</p> : workflow.description && <p className="dim">{plain(workflow.description)}</p>}
      {given.length > 0 && <p className="facts given">with {given.map(([name, value]) => <span key={name}><b>{plain(name)}</b> {secret(name) ? "(hidden)" : shortly(value)}</span>)}</p>}
      {shown?.problem && <p className={shown.state === "failed" ? "problem" : "dim"}>{plain(shown.problem)}</p>}
      {asked.map((step) => <p key={step.path} className="note"><ShieldAlert className="h-4 w-4" aria-hidden="true" /><span>{plain(step.step)} waits for your decision. <a href={`/api/approvals/${encodeURIComponent(step.approval_id)}/page`}>Decide</a></span></p>)}
      {picture(createElement, { ...diagram, title: workflow.name }, id)}
      {data.may_change && asking && <RunForm name={workflow.name} inputs={data.inputs} busy={busy} problems={wrong} setProblems={setWrong} start={start} leave={() => setAsking(false)} />}
      {data.may_change && !asking && <footer>
        {!going && <Button size="sm" disabled={busy || !workflow.enabled} onClick={() => begin(false)}><Play className="h-4 w-4" aria-hidden="true" />{needs ? "Run…" : "Run"}</Button>}
        {!going && !needs && <Button size="sm" variant="outline" disabled={busy} onClick={() => begin(true)}><FlaskConical className="h-4 w-4" aria-hidden="true" />Dry run</Button>}
        {going && <Button size="sm" variant="outline" disabled={busy} onClick={() => act("workflows_cancel", { run: shown.id })}><Square className="h-4 w-4" aria-hidden="true" />Cancel</Button>}
        {AGAIN[shown?.state] && data.mine && !shown.dry_run && <Button size="sm" variant="outline" disabled={busy} onClick={() => act("workflows_resume", { run: shown.id, ...(unknown ? { again: true } : {}) })}><RotateCcw className="h-4 w-4" aria-hidden="true" />{unknown ? "Retry, and do the unknown step again" : AGAIN[shown.state]}</Button>}
        {data.mine && <Button size="sm" variant="ghost" onClick={() => callAction({ name: "beside", payload: { view: "workflow-editor", of: workflow.id, title: `Edit ${workflow.name}` } })}><PencilLine className="h-4 w-4" aria-hidden="true" />Edit</Button>}
      </footer>}
      {(lost || problem) && <p className="problem" role="alert">{plain(lost || problem)}</p>}
      {steps.length > 0 && <Steps steps={steps} />}
      <History workflow={workflow} runs={runs} shown={shown?.id} open={open} />
    </figure>
  )
}

export default function WorkflowDiagram() {
  const id = useId().replaceAll(":", "")
  if (props.of !== undefined) return <Live of={props.of} />
  return (
    <figure className="nebula-card workflow" aria-labelledby={`${id}-title`}>
      {props.title && <figcaption id={`${id}-title`}>{plain(props.title)}</figcaption>}
      {picture(createElement, props, id)}
    </figure>
  )
}
