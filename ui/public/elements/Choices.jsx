// A question with answers to pick from; picking one says it.
import { useState } from "react"
import { useChatData } from "@chainlit/react-client"
import { ChevronRight } from "lucide-react"

export default function Choices() {
  const { loading } = useChatData()
  const [picked, setPicked] = useState(null)
  return (
    <section className="nebula-card choices" aria-label={props.question || "Choices"}>
      {props.question && <p>{props.question}</p>}
      <div>
        {(props.options || []).map(([label, says], i) => (
          <button type="button" key={i} disabled={loading} data-picked={picked === i || undefined}
            onClick={() => { setPicked(i); sendUserMessage(says) }}>
            <span>{label}</span><ChevronRight className="h-4 w-4" aria-hidden="true" />
          </button>
        ))}
      </div>
    </section>
  )
}
