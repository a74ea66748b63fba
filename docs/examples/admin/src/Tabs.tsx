import type { KeyboardEvent } from "react"
import type { Page, Status } from "./documents"

const TABS: [string, Status][] = [["Active", "ACTIVE"], ["Deactivated", "DEACTIVATED"], ["Deleted", "DELETED"]]
const STEPS: Record<string, number> = { ArrowRight: 1, ArrowLeft: TABS.length - 1 }
type Props = { status: Status; counts: Page["counts"]["statusCounts"] | undefined; onChange: (status: Status) => void }

/** The statuses as tabs with the number of users that the search finds in each. Arrow keys change the tab. */
export function Tabs({ status, counts, onChange }: Props) {
  function onKeyDown({ key }: KeyboardEvent) {
    if (!(key in STEPS)) return
    const at = TABS.findIndex(([, of]) => of === status)
    const [, next] = TABS[(at + STEPS[key]!) % TABS.length]!
    onChange(next)
    document.getElementById(next)!.focus()
  }
  return (
    <div role="tablist" aria-label="Status" onKeyDown={onKeyDown}>
      {TABS.map(([title, of]) => (
        <button
          key={of}
          role="tab"
          id={of}
          aria-selected={of === status}
          aria-controls="list"
          tabIndex={of === status ? 0 : -1}
          onClick={() => onChange(of)}
        >
          {title} <span className="count">{counts?.find((one) => one.status === of)?.count.toLocaleString() ?? "…"}</span>
        </button>
      ))}
    </div>
  )
}
