// Where a workflow is written: its text, checked while it is typed, beside its picture.
import { createElement, useEffect, useId, useMemo, useRef, useState } from "react"
import { useChatData } from "@chainlit/react-client"
import { CircleAlert, CircleCheck, LoaderCircle } from "lucide-react"
import { Button } from "@/components/ui/button"

const { plain, read, call, follow, inFull, picture } = window.nebula
const OF = props.of || ""
const READY = OF.startsWith("ready:") ? OF.slice(6) : ""
const KEPT = `nebula.workflow-draft.${OF || "new"}`
const PAUSE = 300
const show = (view, of, title) => callAction({ name: "beside", payload: { view, of, title } })
function kept() { try { return JSON.parse(sessionStorage.getItem(KEPT)) } catch { return null } }
function keep(draft) { try { draft ? sessionStorage.setItem(KEPT, JSON.stringify(draft)) : sessionStorage.removeItem(KEPT) } catch { /* a full store loses the draft, not the text */ } }

async function check(definition, signal) {
  const answer = await fetch("/ui/workflows/check", { method: "POST", credentials: "same-origin", signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify({ definition }) })
  const body = await answer.json().catch(() => ({}))
  if (!answer.ok) throw new Error(inFull(body) || "The server does not answer.")
  return body
}

// What is typed goes in as typing does, so that undo takes it back.
function type(area, text) {
  if (!document.execCommand(text ? "insertText" : "delete", false, text)) {
    area.setRangeText(text, area.selectionStart, area.selectionEnd, "end")
    area.dispatchEvent(new Event("input", { bubbles: true }))
  }
}

function indent(area, back) {
  const { selectionStart: from, selectionEnd: to, value } = area
  if (from === to && !back) return type(area, "  ")
  const begin = value.lastIndexOf("\n", from - 1) + 1, next = value.indexOf("\n", to), end = next < 0 ? value.length : next
  const before = value.slice(begin, end), after = before.replace(/^/gm, back ? "" : "  ").replace(back ? /^ {1,2}/gm : /$^/, "")
  if (after === before) return
  const first = before.split("\n")[0].length - after.split("\n")[0].length
  area.setSelectionRange(begin, end)
  type(area, after)
  area.setSelectionRange(Math.max(begin, from - first), to + after.length - before.length)
}

// A new line begins where the one before it does, or deeper behind a colon or the first key of an item.
function newLine(area) {
  const { selectionStart: from, value } = area
  const line = value.slice(value.lastIndexOf("\n", from - 1) + 1, from)
  const deeper = /:\s*$/.test(line) ? (/^\s*- /.test(line) ? 4 : 2) : /^\s*- [\w"]+:/.test(line) ? 2 : 0
  type(area, `\n${/^\s*/.exec(line)[0]}${" ".repeat(deeper)}`)
}

function Text({ value, set, problems, area, save, about }) {
  const gutter = useRef(null)
  const leaving = useRef(false)
  const wrong = useMemo(() => new Set(problems.map(({ line }) => line)), [problems])
  const lines = value.split("\n").length
  const press = (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "s") { event.preventDefault(); save() }
    else if (event.key === "Tab" && !leaving.current) { event.preventDefault(); indent(event.target, event.shiftKey) }
    else if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) { event.preventDefault(); newLine(event.target) }
    if (event.key !== "Shift") leaving.current = event.key === "Escape"
  }
  return (
    <div className="code" data-wrong={wrong.size > 0 || undefined}>
      <div className="gutter" aria-hidden="true"><ol ref={gutter}>{Array.from({ length: lines }, (_, at) => <li key={at} data-wrong={wrong.has(at + 1) || undefined}>{at + 1}</li>)}</ol></div>
      <textarea ref={area} value={value} aria-label="Definition as YAML" aria-describedby={about} aria-invalid={wrong.size > 0 || undefined} wrap="off" spellCheck={false} autoCapitalize="off" autoComplete="off" autoCorrect="off"
        rows={Math.min(Math.max(lines + 1, 14), 24)} onChange={(event) => set(event.target.value)} onKeyDown={press}
        onScroll={(event) => { if (gutter.current) gutter.current.style.transform = `translateY(${-event.target.scrollTop}px)` }} />
    </div>
  )
}

function Problems({ problems, go }) {
  return (
    <ol className="mistakes" aria-label="Mistakes">{problems.map(({ line, problem }, at) => (
      <li key={at}><button type="button" onClick={() => go(line)}><b>Line {line}</b><span>{plain(problem)}</span></button></li>
    ))}</ol>
  )
}

function useChecked(text) {
  const [seen, setSeen] = useState({ problems: [], diagram: null, of: null })
  useEffect(() => {
    if (text == null) return
    const stop = new AbortController()
    const timer = setTimeout(() => check(text, stop.signal).then(
      // With a mistake in it, the picture stays as it was before.
      ({ problems, diagram }) => setSeen((before) => ({ problems, diagram: diagram || before.diagram, of: text, away: "" })),
      (error) => stop.signal.aborted || setSeen((before) => ({ ...before, of: text, away: error.message })),
    ), seen.of == null ? 0 : PAUSE)
    return () => { clearTimeout(timer); stop.abort() }
  }, [text])
  return [seen, setSeen]
}

export default function WorkflowEditor() {
  const { connected } = useChatData()
  const [starts, setStarts] = useState(null)
  const [draft, setDraft] = useState(null)
  const [known, setKnown] = useState(null)
  const [newer, setNewer] = useState(null)
  const [wanted, setWanted] = useState("")
  const [busy, setBusy] = useState(false)
  const [saved, setSaved] = useState(false)
  const [said, setSaid] = useState("")
  const area = useRef(null)
  const id = useId().replaceAll(":", "")
  const [seen, setSeen] = useChecked(draft?.text)
  const dirty = !!draft && draft.text !== draft.base
  const waits = draft?.workflow || (OF && !READY ? OF : "")
  const textOf = (name) => (name ? starts.ready[name] : starts.blank)

  const change = (more) => setDraft((before) => {
    const next = { ...before, ...more }
    keep(next.text === next.base && !next.workflow ? null : next)
    return next
  })
  const load = async (name) => {
    const { detail } = await read(`/ui/workflows/${encodeURIComponent(name)}`)
    return { text: detail.definition, base: detail.definition, version: detail.workflow.version, workflow: detail.workflow.id, name: detail.workflow.name, on: detail.workflow.enabled }
  }
  useEffect(() => {
    const begin = async () => {
      const found = await read("/ui/workflows/starts"), before = kept()
      setStarts(found)
      const name = before?.workflow || (OF && !READY ? OF : "")
      const there = name ? await load(name) : null
      setKnown(there)
      const fresh = there || { text: READY ? found.ready[READY] : found.blank, start: READY }
      setDraft(before || { base: fresh.text, ...fresh })
    }
    begin().catch((error) => setSaid(error.message))
  }, [])
  // Saved elsewhere meanwhile, or at last, when an approval was waited for.
  const look = async () => {
    if (!waits) return
    const there = await load(waits).catch(() => null)
    setKnown((before) => there || before)
    setDraft((now) => {
      if (!there || !now || there.version === now.version || there.text === now.base) return now
      if (now.text === now.base || now.text.trim() === there.text.trim()) { keep(null); return there }
      setNewer(there)
      return now
    })
  }
  useEffect(() => follow("workflows", look), [connected, waits])
  useEffect(() => {
    if (!dirty) return
    const warn = (event) => { event.preventDefault(); event.returnValue = "" }
    window.addEventListener("beforeunload", warn)
    return () => window.removeEventListener("beforeunload", warn)
  }, [dirty])

  const go = (line) => {
    const lines = draft.text.split("\n").slice(0, line), end = lines.join("\n").length
    area.current.focus()
    area.current.setSelectionRange(end - (lines.at(-1) || "").length, end)
    area.current.scrollTop = Math.max(0, (line - 6) * parseFloat(getComputedStyle(area.current).lineHeight))
  }
  const failed = (error) => {
    const problems = (error.fields || []).map(({ field, problem }) => ({ line: Number(/^line (\d+)$/.exec(field)?.[1] || 1), problem }))
    if (problems.length > 0) { setSeen((before) => ({ ...before, problems, of: draft.text })); go(problems[0].line) } else setSaid(inFull(error))
  }
  const save = async () => {
    if (busy || !dirty && waits) return
    setBusy(true)
    setSaid("")
    setSaved(false)
    try {
      const { problems } = await check(draft.text)
      if (problems.length > 0) { setSeen((before) => ({ ...before, problems, of: draft.text })); go(problems[0].line) }
      else {
        const { result, error, waiting } = await (waits ? call(callAction, "workflows_update", { workflow: waits, definition: draft.text }) : call(callAction, "workflows_create", { definition: draft.text }))
        if (error) failed(error)
        if (waiting) setSaid("Saving waits for your approval: its card is in the chat.")
        if (result) {
          const there = await load(result.workflow.id)
          keep(null)
          setKnown(there)
          setNewer(null)
          setDraft(there)
          setSaved(true)
        }
      }
    } catch (error) { setSaid(error.message) }
    setBusy(false)
  }
  const begin = (name) => { setWanted(""); setSaved(false); change({ text: textOf(name), base: textOf(name), start: name }) }
  const choose = (name) => (dirty ? setWanted(name || "blank") : begin(name))
  const revert = () => { setSaid(""); keep(null); setNewer(null); setDraft(known || { text: textOf(draft.start), base: textOf(draft.start), start: draft.start }) }
  const run = () => show("workflow", `${known.workflow}::${/^inputs:/m.test(known.text) ? "ask" : ""}`, known.name)

  if (!draft || !starts) return <section className="nebula-card agents editor"><p className="dim">{plain(said) || "Reading…"}</p></section>
  const checking = seen.of !== draft.text
  const count = seen.problems.length
  const word = checking ? "Checking…" : seen.away ? "Not checked" : count === 0 ? "No mistakes" : count === 1 ? "1 mistake" : `${count} mistakes`
  const StateIcon = checking ? LoaderCircle : count || seen.away ? CircleAlert : CircleCheck
  return (
    <section className="nebula-card agents editor" aria-labelledby={`${id}-title`}>
      <header><h3 id={`${id}-title`}>{known ? `Edit ${plain(known.name)}` : "New workflow"}</h3>
        <span className="chip" data-state={dirty ? "waiting" : known ? "done" : undefined}>{dirty ? "not saved" : known ? `saved, version ${known.version}` : "nothing written yet"}</span>
        <p className="verdict" role="status" data-tone={checking || seen.away ? undefined : count ? "bad" : "good"}><StateIcon className={`h-4 w-4 ${checking ? "animate-spin" : ""}`} aria-hidden="true" />{word}</p></header>
      {!known && <div className="begin"><label htmlFor={`${id}-start`}>Begin with</label>
        <select id={`${id}-start`} value={draft.start || ""} onChange={(event) => choose(event.target.value)}><option value="">a blank one with comments</option>{Object.keys(starts.ready).map((name) => <option key={name} value={name}>{name}, ready-made</option>)}</select></div>}
      {wanted && <p className="note" role="alert"><CircleAlert className="h-4 w-4" aria-hidden="true" /><span>What you wrote is not saved. Replace it with {plain(wanted)}?</span>
        <Button size="sm" variant="outline" onClick={() => begin(wanted === "blank" ? "" : wanted)}>Replace</Button><Button size="sm" variant="ghost" onClick={() => setWanted("")}>Keep mine</Button></p>}
      {newer && <p className="note" role="alert"><CircleAlert className="h-4 w-4" aria-hidden="true" /><span>It was changed elsewhere: there is version {newer.version}. Saving replaces it.</span>
        <Button size="sm" variant="outline" onClick={() => { keep(null); setDraft(newer); setNewer(null) }}>Take that one</Button></p>}
      {saved && <div className="made" role="status"><CircleCheck className="h-5 w-5" aria-hidden="true" /><span><strong>{plain(known.name)}</strong> is saved and {known.on ? "switched on" : "switched off"}.</span>
        <Button size="sm" onClick={run}>Open it to run</Button></div>}
      <div className="write">
        <div className="text">
          <Text value={draft.text} set={(text) => { setSaved(false); change({ text }) }} problems={checking ? [] : seen.problems} area={area} save={save} about={`${id}-hint`} />
          <p id={`${id}-hint`} className="hint keys">Tab indents, Shift+Tab takes back; Esc, then Tab leaves. Ctrl+S saves.</p>
        </div>
        <div className="seen">
          {seen.away && <p className="problem">{plain(seen.away)}</p>}
          {!checking && count > 0 && <Problems problems={seen.problems} go={go} />}
          {seen.diagram && <div className="workflow" data-old={count > 0 || undefined}>{picture(createElement, seen.diagram, `${id}-drawn`)}{count > 0 && <p className="hint">As it was before the mistake.</p>}</div>}
        </div>
      </div>
      <footer>
        <Button size="sm" disabled={busy || (!dirty && !!known)} onClick={save}>{busy ? "Saving…" : known ? "Save" : "Create workflow"}</Button>
        {dirty && <Button size="sm" variant="ghost" disabled={busy} onClick={revert}>Discard changes</Button>}
        {known && !saved && <Button size="sm" variant="outline" onClick={run}>Open</Button>}
      </footer>
      {said && <p className="problem" role="alert">{plain(said)}</p>}
    </section>
  )
}
