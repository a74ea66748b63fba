import { useQuery, useReactiveVar } from "@apollo/client/react"
import { useEffect, useState } from "react"
import { isConnected } from "./client"
import { SESSION, type Session, type Status, type User } from "./documents"
import { Problem } from "./Problem"
import { RoleButton, RoleForm } from "./Role"
import { Tabs } from "./Tabs"
import { UserForm } from "./UserForm"
import { useUsers } from "./users"
import { UserTable } from "./UserTable"

export function App() {
  const { data: session, error, refetch } = useQuery(SESSION)
  return (
    <>
      {session ? <Directory session={session} /> : (
        <>
          <header><h1>Users</h1><RoleButton session={null} /></header>
          <main>{error ? <Problem error={error} onRetry={() => void refetch()} /> : <p className="note" role="status">Loading…</p>}</main>
        </>
      )}
      <RoleForm session={session ?? null} />
    </>
  )
}

function Directory({ session }: { session: Session }) {
  const { viewerScopes: scopes, users: { followFrom } } = session
  const [status, setStatus] = useState<Status>("ACTIVE")
  const [typed, setTyped] = useState("")
  const [edited, setEdited] = useState<User | "new" | null>(null)
  const [notice, setNotice] = useState("")
  const search = useSettled(typed, 150)
  const users = useUsers({ status, search }, followFrom)

  return (
    <>
      <header>
        <h1>Users</h1>
        <LiveStatus followFrom={followFrom} error={users.liveError} />
        <RoleButton session={session} />
        {scopes.includes("WRITE") && <button className="primary" onClick={() => setEdited("new")}>New user</button>}
      </header>
      <main>
        <div className="bar">
          <Tabs status={status} counts={users.counts} onChange={setStatus} />
          <input
            type="search"
            aria-label="Search users"
            placeholder="Search by name or e-mail"
            maxLength={200}
            value={typed}
            onChange={(event) => setTyped(event.target.value)}
          />
        </div>
        {!scopes.includes("READ") && <p className="note">You see only yourself: this token has no scope users:read.</p>}
        <section id="list" role="tabpanel" aria-labelledby={status}>
          <UserTable users={users} search={search} onEdit={setEdited} onNotice={setNotice} />
        </section>
      </main>
      {edited && (
        <UserForm
          user={edited === "new" ? null : edited}
          onClose={() => setEdited(null)}
          onSaved={(user) => {
            setEdited(null)
            if (user) users.changed(user.id) // null if this role may not read them
            setNotice(`${user?.username ?? "The user"} was saved.`)
          }}
        />
      )}
      <Notice text={notice} onEnd={() => setNotice("")} />
    </>
  )
}

function LiveStatus({ followFrom, error }: { followFrom: string | null; error: Error | undefined }) {
  const connected = useReactiveVar(isConnected)
  if (followFrom === null) return <span className="live" title="Needs the scopes users:read and users:history">Not live</span>
  if (error) return <span className="live bad" role="status">Not live: {error.message}</span>
  return <span className={connected ? "live good" : "live"} role="status">{connected ? "Live" : "Connecting…"}</span>
}

function Notice({ text, onEnd }: { text: string; onEnd: () => void }) {
  useEffect(() => {
    if (!text) return
    const timer = setTimeout(onEnd, 5000)
    return () => clearTimeout(timer)
  }, [text])
  return <p className="notice" role="status" hidden={!text}>{text}</p>
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
