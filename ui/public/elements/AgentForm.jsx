// The form in which an agent is made or changed. What is typed is kept in this tab until it is saved.
import { useEffect, useId, useMemo, useRef, useState } from "react"
import { CircleCheck, Search, X } from "lucide-react"
import { Button } from "@/components/ui/button"
import { Input } from "@/components/ui/input"
import { Switch } from "@/components/ui/switch"
import { Textarea } from "@/components/ui/textarea"

const { plain, read, call, moment, inFull } = window.nebula
const KEPT = `nebula.agent-draft.${props.of || "new"}`
const LEVELS = { read: "looks", write: "changes", destructive: "cannot be undone" }
const CRONS = [["Every day at 7", "0 7 * * *"], ["Weekdays at 7", "0 7 * * 1-5"], ["Mondays at 9", "0 9 * * 1"], ["Every hour", "0 * * * *"], ["Every 15 minutes", "*/15 * * * *"]]
const LIMITS = [["steps", "Steps of a run", 1], ["minutes", "Minutes of a run", "any"], ["tokens", "Tokens of a run", 1],
  ["runs_per_day", "Runs in 24 hours", 1], ["money_per_day", "Cost in 24 hours", "any"], ["failures", "Failures that switch it off", 1]]
const EMPTY = { name: "", purpose: "", features: [], tools: [], tier: "large", limits: {}, overlap: "skip", scheduled: false, cron: "0 7 * * *",
  timezone: Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC", waits: false, event: "job.changed", where: {}, report_to: "", report_when: "always" }

const draftOf = (agent) => ({
  ...EMPTY, name: agent.name, purpose: agent.purpose, features: agent.features, tools: agent.tools, tier: agent.tier,
  limits: Object.fromEntries(Object.entries(agent.limits).map(([name, value]) => [name, value == null ? "" : String(value)])), overlap: agent.overlap,
  scheduled: !!(agent.cron || agent.every_minutes), cron: agent.cron || "", timezone: agent.cron ? agent.timezone : EMPTY.timezone,
  waits: !!agent.trigger, event: agent.trigger?.event || EMPTY.event, where: agent.trigger?.where || {}, report_to: agent.report_to || "", report_when: agent.report_when,
})
function kept() { try { return JSON.parse(sessionStorage.getItem(KEPT)) } catch { return null } }
const filled = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value !== "" && value != null))

function Field({ name, label, hint, problem, children }) {
  const id = useId()
  const about = [hint && `${id}-hint`, problem && `${id}-problem`].filter(Boolean).join(" ") || undefined
  return (
    <div className="field" data-field={name} data-wrong={problem ? "" : undefined}>
      <label htmlFor={id}>{label}</label>
      {children({ id, "aria-invalid": problem ? true : undefined, "aria-describedby": about })}
      {hint && <p id={`${id}-hint`} className="hint">{hint}</p>}
      {problem && <p id={`${id}-problem`} className="problem" role="alert">{plain(problem)}</p>}
    </div>
  )
}

// Features and single tools, searched by name and by what they are for.
function Uses({ offered, draft, set, problem }) {
  const [words, setWords] = useState("")
  const id = useId()
  const found = useMemo(() => {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean)
    const fits = (one) => wanted.every((word) => `${one.name} ${one.about}`.toLowerCase().includes(word))
    return { features: offered.features.filter(fits), tools: offered.tools.filter(fits) }
  }, [words, offered])
  const toggle = (kind, name) => set({ [kind]: draft[kind].includes(name) ? draft[kind].filter((one) => one !== name) : [...draft[kind], name] })
  const line = (kind, one) => (
    <li key={one.name}><label>
      <input type="checkbox" checked={draft[kind].includes(one.name)} onChange={() => toggle(kind, one.name)} />
      <span><code>{one.name}</code>{kind === "features" && <small> all its tools</small>}<em>{plain(one.about)}</em></span>
      <span className="effect" data-level={one.effect}>{LEVELS[one.effect]}</span>
    </label></li>
  )
  const chosen = [...draft.features.map((name) => ["features", name]), ...draft.tools.map((name) => ["tools", name])]
  return (
    <fieldset className="field uses" data-field="features" data-wrong={problem ? "" : undefined} aria-describedby={problem ? `${id}-problem` : undefined}>
      <legend>May use</legend>
      {chosen.length > 0 && <ul className="chosen">{chosen.map(([kind, name]) => (
        <li key={`${kind}-${name}`}><code>{plain(name)}{kind === "features" && " (all)"}</code>
          <button type="button" aria-label={`Leave out ${name}`} onClick={() => toggle(kind, name)}><X className="h-3.5 w-3.5" aria-hidden="true" /></button></li>
      ))}</ul>}
      <div className="search"><Search className="h-4 w-4" aria-hidden="true" />
        <Input value={words} onChange={(e) => setWords(e.target.value)} onKeyDown={(e) => e.key === "Enter" && e.preventDefault()} placeholder="Search features and tools" aria-label="Search features and tools" /></div>
      <div className="choice" tabIndex={0} role="group" aria-label="Features and tools">
        {found.features.length > 0 && <><h5>Features</h5><ul>{found.features.map((one) => line("features", one))}</ul></>}
        {found.tools.length > 0 && <><h5>Tools</h5><ul>{found.tools.map((one) => line("tools", one))}</ul></>}
        {found.features.length + found.tools.length === 0 && <p className="hint">Nothing fits these words.</p>}
      </div>
      <p className="hint">What needs an approval waits for you, as everywhere.</p>
      {problem && <p id={`${id}-problem`} className="problem" role="alert">{plain(problem)}</p>}
    </fieldset>
  )
}

function Schedule({ draft, set, zones, problems, every }) {
  const [seen, setSeen] = useState(null)
  const list = useId()
  useEffect(() => {
    if (!draft.cron.trim()) { setSeen(null); return }
    const query = new URLSearchParams({ cron: draft.cron, timezone: draft.timezone })
    let on = true
    const timer = setTimeout(() => read(`/ui/agents/preview?${query}`).then((body) => on && setSeen(body), (error) => on && setSeen({ problem: error.message })), 200)
    return () => { on = false; clearTimeout(timer) }
  }, [draft.cron, draft.timezone])
  return (
    <div className="part">
      <div className="presets" role="group" aria-label="Usual times">{CRONS.map(([label, cron]) => (
        <button type="button" key={cron} aria-pressed={draft.cron === cron} onClick={() => set({ cron })}>{label}</button>
      ))}</div>
      <div className="pair">
        <Field name="cron" label="Cron" hint={every && !draft.cron ? `Empty: every ${every} minutes, as it is` : "Minute, hour, day, month, weekday"} problem={problems.cron}>
          {(given) => <Input {...given} value={draft.cron} maxLength={200} spellCheck={false} className="mono" onChange={(e) => set({ cron: e.target.value })} />}
        </Field>
        <Field name="timezone" label="Time zone" problem={problems.timezone}>
          {(given) => <><Input {...given} value={draft.timezone} maxLength={60} list={list} spellCheck={false} onChange={(e) => set({ timezone: e.target.value })} />
            <datalist id={list}>{zones.map((zone) => <option key={zone} value={zone} />)}</datalist></>}
        </Field>
      </div>
      <div className="preview" role="status" aria-live="polite">
        {seen?.words && <><strong>{plain(seen.words)}</strong><ol className="times">{seen.times.map((at) => <li key={at}>{moment(at, draft.timezone)}</li>)}</ol></>}
        {seen?.problem && <span className="problem">{plain(seen.problem)}</span>}
      </div>
    </div>
  )
}

function Event({ draft, set, events, problem }) {
  const fields = Object.entries(events[draft.event] || {})
  const where = (name, value) => set({ where: filled({ ...draft.where, [name]: value }) })
  return (
    <div className="part">
      <Field name="trigger" label="Event" problem={problem}>
        {(given) => <select {...given} value={draft.event} onChange={(e) => set({ event: e.target.value, where: {} })}>{Object.keys(events).map((name) => <option key={name}>{name}</option>)}</select>}
      </Field>
      {draft.event === "webhook.received" && <p className="hint">{events[draft.event].hook.length > 0
        ? "A signed delivery to one of your webhooks starts it." : "You have no webhook yet: say “make a webhook”, then open this form again."}</p>}
      <div className="pair">{fields.map(([name, values]) => (
        <Field key={name} name={`where.${name}`} label={`Only where ${name} is`}>
          {(given) => values.length > 0
            ? <select {...given} value={draft.where[name] || ""} onChange={(e) => where(name, e.target.value)}><option value="">anything</option>{values.map((value) => <option key={value}>{value}</option>)}</select>
            : <Input {...given} value={draft.where[name] || ""} placeholder="anything" onChange={(e) => where(name, e.target.value)} />}
        </Field>
      ))}</div>
    </div>
  )
}

function Turn({ label, on, set }) {
  const id = useId()
  return <div className="turn"><Switch id={id} checked={on} onCheckedChange={set} /><label htmlFor={id}>{label}</label></div>
}

// By field, what the server said is wrong with it; the rest is said beside the button.
function sorted(error) {
  const problems = {}
  const hint = error.hint ? ` ${error.hint}` : ""
  for (const { field, problem } of error.fields || []) problems[field === "tools" ? "features" : field] = `${problem}${hint}`
  if (error.code === "conflict") problems.name = inFull(error)
  if (Object.keys(problems).length === 0) problems.all = inFull(error)
  return problems
}

export default function AgentForm() {
  const [offered, setOffered] = useState(null)
  const [agent, setAgent] = useState(null)
  const [draft, setDraft] = useState(null)
  const [problems, setProblems] = useState({})
  const [busy, setBusy] = useState(false)
  const [made, setMade] = useState(null)
  const form = useRef(null)
  const heading = useId()

  useEffect(() => {
    const load = async () => {
      const [choices, list] = await Promise.all([read("/ui/agents/offered"), props.of ? read("/ui/agents") : null])
      const known = list?.agents.find((one) => one.id === props.of)
      if (props.of && !known) throw new Error("This agent is not there any more.")
      setAgent(known || null)
      setOffered(choices)
      setDraft(kept() || (known ? draftOf(known) : EMPTY))
    }
    load().catch((error) => setProblems({ all: error.message }))
  }, [])
  const set = (change) => setDraft((before) => {
    const next = { ...before, ...change }
    try { sessionStorage.setItem(KEPT, JSON.stringify(next)) } catch { /* a full store loses the draft, not the form */ }
    return next
  })
  useEffect(() => { form.current?.querySelector("[data-wrong] :is(input, textarea, select)")?.focus() }, [problems])

  const discard = () => { sessionStorage.removeItem(KEPT); setDraft(agent ? draftOf(agent) : EMPTY); setProblems({}) }
  const send = async (tool, given) => {
    const { result, error, waiting } = await call(callAction, tool, given)
    if (error) setProblems(sorted(error))
    if (waiting) setProblems({ all: "This waits for your approval: its card is in the chat." })
    return result
  }
  const save = async (event) => {
    event.preventDefault()
    setBusy(true)
    setProblems({})
    const common = { purpose: draft.purpose.trim(), features: draft.features, tools: draft.tools, tier: draft.tier, overlap: draft.overlap, report_to: draft.report_to.trim(),
      report_when: draft.report_when, on_event: draft.waits ? draft.event : "", where: draft.waits ? draft.where : {}, limits: filled(draft.limits) }
    let result
    if (agent) {
      // Naming what it may use gives it new rights: said only where it changed.
      for (const kind of ["features", "tools"]) if (String(agent[kind]) === String(draft[kind])) delete common[kind]
      if (agent.purpose === common.purpose) delete common.purpose
      result = await send("agents_update", { agent: agent.id, ...common })
      const before = agent.cron || "", now = draft.scheduled ? draft.cron.trim() : ""
      const keeps = draft.scheduled && !now && agent.every_minutes
      if (result && !keeps && (now !== before || (now && draft.timezone !== agent.timezone) || (agent.every_minutes && !draft.scheduled)))
        result = await send("agents_schedule", { agent: agent.id, ...(now ? { cron: now, timezone: draft.timezone } : {}) })
    } else {
      const timing = draft.scheduled ? { cron: draft.cron.trim(), timezone: draft.timezone } : {}
      result = await send("agents_create", { name: draft.name.trim(), ...common, ...timing })
    }
    if (result) { sessionStorage.removeItem(KEPT); setAgent(result.agent); setDraft(draftOf(result.agent)); setMade(result.agent) }
    setBusy(false)
  }
  const beside = (view, of, title) => callAction({ name: "beside", payload: { view, of, title } })
  const dryRun = async () => {
    const result = await send("agents_run", { agent: made.id, dry_run: true })
    if (result) beside("agent-runs", result.run.id, `Dry run of ${made.name}`)
  }

  if (!draft || !offered) return <section className="nebula-card agents form"><p className="dim">{plain(problems.all) || "Reading…"}</p></section>
  return (
    <section className="nebula-card agents form" aria-labelledby={heading}>
      <header><h3 id={heading}>{agent ? `Edit ${plain(agent.name)}` : "New agent"}</h3></header>
      {made && (
        <div className="made" role="status"><CircleCheck className="h-5 w-5" aria-hidden="true" /><span><strong>{plain(made.name)}</strong> is saved and {made.enabled ? "switched on" : "switched off"}.</span>
          <Button size="sm" onClick={dryRun}>Dry run</Button><Button size="sm" variant="outline" onClick={() => beside("agent", made.id, made.name)}>Show it</Button></div>
      )}
      <form ref={form} onSubmit={save} noValidate>
        <Field name="name" label="Name" hint={agent ? "The name stays." : "Short, such as disk-watch"} problem={problems.name}>
          {(given) => <Input {...given} value={draft.name} maxLength={40} disabled={!!agent} autoComplete="off" spellCheck={false} onChange={(e) => set({ name: e.target.value })} />}
        </Field>
        <Field name="purpose" label="Purpose" hint="What it shall do in each run: all it is told, and what counts as your words." problem={problems.purpose}>
          {(given) => <Textarea {...given} value={draft.purpose} rows={4} maxLength={2000} onChange={(e) => set({ purpose: e.target.value })} />}
        </Field>
        <Uses offered={offered} draft={draft} set={set} problem={problems.features} />
        <fieldset className="field"><legend>When it runs</legend>
          <Turn label="On a schedule" on={draft.scheduled} set={(scheduled) => set({ scheduled })} />
          {draft.scheduled && <Schedule draft={draft} set={set} zones={offered.zones} problems={problems} every={agent?.every_minutes} />}
          <Turn label="When something happens" on={draft.waits} set={(waits) => set({ waits })} />
          {draft.waits && <Event draft={draft} set={set} events={offered.events} problem={problems.trigger} />}
          {!draft.scheduled && !draft.waits && <p className="hint">Neither: it runs when you start it.</p>}
        </fieldset>
        <div className="pair">
          <Field name="report_to" label="Report to" hint="A notification channel, discord, or discord:server/#channel; empty: its conversation only" problem={problems.report_to}>
            {(given) => <Input {...given} value={draft.report_to} maxLength={40} autoComplete="off" onChange={(e) => set({ report_to: e.target.value })} />}
          </Field>
          <Field name="report_when" label="Reports" problem={problems.report_when}>
            {(given) => <select {...given} value={draft.report_when} onChange={(e) => set({ report_when: e.target.value })}><option value="always">always</option><option value="news">only news</option><option value="problems">only problems</option></select>}
          </Field>
        </div>
        <details open={Object.keys(problems).some((name) => name.startsWith("limits")) || undefined}>
          <summary>Model and limits</summary>
          <div className="pair">
            <Field name="tier" label="Model">{(given) => <select {...given} value={draft.tier} onChange={(e) => set({ tier: e.target.value })}><option value="small">small: quick and cheap</option><option value="large">large: thinks better</option></select>}</Field>
            <Field name="overlap" label="While an earlier run goes on">{(given) => <select {...given} value={draft.overlap} onChange={(e) => set({ overlap: e.target.value })}><option value="skip">skip the new one</option><option value="queue">let it wait in line</option></select>}</Field>
            {LIMITS.map(([name, label, step]) => (
              <Field key={name} name={`limits.${name}`} label={label} problem={problems[`limits.${name}`]}>
                {(given) => <Input {...given} type="number" step={step} min={0} value={draft.limits[name] ?? ""} placeholder={offered.limits[name] == null ? "no limit" : String(offered.limits[name])}
                  onChange={(e) => set({ limits: { ...draft.limits, [name]: e.target.value } })} />}
              </Field>
            ))}
          </div>
        </details>
        <footer>
          <Button size="sm" type="submit" disabled={busy}>{busy ? "Saving…" : agent ? "Save" : "Create agent"}</Button>
          <Button size="sm" type="button" variant="ghost" disabled={busy} onClick={discard}>Discard</Button>
        </footer>
        {problems.all && <p className="problem" role="alert">{plain(problems.all)}</p>}
      </form>
    </section>
  )
}
