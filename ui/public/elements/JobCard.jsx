// A background job that a turn started, as far as this turn heard of it.
import { CircleCheck, CircleX, LoaderCircle } from "lucide-react"

const ENDED = { succeeded: CircleCheck, failed: CircleX, cancelled: CircleX, timed_out: CircleX, lost: CircleX }

export default function JobCard() {
  const Icon = ENDED[props.state] || LoaderCircle
  const share = props.progress == null ? null : Math.round(props.progress * 100)
  return (
    <section className="nebula-card job" aria-label={`Job ${props.tool}`}>
      <header>
        <Icon className={`h-4 w-4 ${ENDED[props.state] ? "" : "animate-spin"}`} aria-hidden="true" />
        <strong>{props.tool}</strong><span>{props.state}</span>{share != null && <span>{share}%</span>}
      </header>
      {share != null && <div className="bar" role="progressbar" aria-valuenow={share}><i style={{ width: `${share}%` }} /></div>}
      {props.message && <p>{props.message}</p>}
    </section>
  )
}
