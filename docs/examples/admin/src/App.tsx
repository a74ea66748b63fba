import { useQuery } from "@apollo/client/react"
import { useEffect, useState } from "react"
import { COUNTS, VIEWER, type Status, type User } from "./documents"
import { Role } from "./Role"
import { UserForm } from "./UserForm"
import { UserTable } from "./UserTable"

const TABS: [string, Status][] = [["Active", "ACTIVE"], ["Deactivated", "DEACTIVATED"], ["Deleted", "DELETED"]]

export function App() {
  const [status, setStatus] = useState<Status>("ACTIVE")
  const [typed, setTyped] = useState("")
  const [edited, setEdited] = useState<User | "new" | null>(null)
  const search = useSettled(typed, 150)
  const counts = useQuery(COUNTS, { variables: { search }, fetchPolicy: "cache-and-network" })
  const known = (counts.data ?? counts.previousData)?.users.statusCounts
  const { data } = useQuery(VIEWER)

  return (
    <>
      <header>
        <h1>Users</h1>
        <Role viewer={data?.viewer ?? null} />
        <button className="primary" onClick={() => setEdited("new")}>New user</button>
      </header>
      <main>
        <div className="bar">
          <div role="tablist" aria-label="Status">
            {TABS.map(([title, of]) => (
              <button key={of} role="tab" id={of} aria-selected={of === status} aria-controls="list" onClick={() => setStatus(of)}>
                {title} <span className="count">{known?.find((one) => one.status === of)?.count ?? "…"}</span>
              </button>
            ))}
          </div>
          <input
            type="search"
            aria-label="Search users"
            placeholder="Search by name or e-mail"
            maxLength={200}
            value={typed}
            onChange={(event) => setTyped(event.target.value)}
          />
        </div>
        <section id="list" role="tabpanel" aria-labelledby={status}>
          <UserTable status={status} search={search} onEdit={setEdited} />
        </section>
      </main>
      {edited && <UserForm user={edited === "new" ? null : edited} onClose={() => setEdited(null)} />}
    </>
  )
}

/** The value, once it has not changed for some milliseconds. */
function useSettled(value: string, wait: number) {
  const [settled, setSettled] = useState(value)
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), wait)
    return () => clearTimeout(timer)
  }, [value, wait])
  return settled
}
