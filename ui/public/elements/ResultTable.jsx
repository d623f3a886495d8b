// A table of plain text; long ones begin folded.
import { useState } from "react"

const FIRST = 12
const NUMBER = /^[<>~≈]?\s*-?[\d.,]+\s?(%|°C|W|[KMGT]?i?B|ms|s|min|h)?$/

export default function ResultTable() {
  const [all, setAll] = useState(false)
  const rows = props.rows || []
  const shown = all ? rows : rows.slice(0, FIRST)
  const numeric = (props.columns || []).map((_, i) => rows.length > 0 && rows.every((r) => r[i] === "–" || NUMBER.test(r[i])))
  return (
    <figure className="nebula-card result">
      {props.title && <figcaption>{props.title}</figcaption>}
      <div className="scroll" tabIndex={0} role="region" aria-label={props.title || "Table"}>
        <table>
          <thead><tr>{props.columns.map((name, i) => <th key={i} scope="col" className={numeric[i] ? "number" : ""}>{name}</th>)}</tr></thead>
          <tbody>{shown.map((row, r) => <tr key={r}>{row.map((cell, i) => <td key={i} className={numeric[i] ? "number" : ""}>{cell}</td>)}</tr>)}</tbody>
        </table>
      </div>
      {rows.length === 0 && <p className="empty">Nothing here yet.</p>}
      {rows.length > FIRST && <button type="button" className="more" onClick={() => setAll(!all)}>{all ? "Show fewer" : `Show all ${rows.length}`}</button>}
    </figure>
  )
}
