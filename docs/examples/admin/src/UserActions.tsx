import { useApolloClient, useMutation } from "@apollo/client/react"
import { useState, type FormEvent } from "react"
import { Dialog } from "./Dialog"
import { ERASE, TRANSITIONS, type Action, type User } from "./documents"

const TITLES: Partial<Record<Action, string>> = {
  UPDATE: "Edit", DEACTIVATE: "Deactivate", REACTIVATE: "Reactivate", DELETE: "Delete", RESTORE: "Restore", ERASE: "Erase",
}
type Props = { user: User; onEdit: (user: User) => void; onProblem: (message: string) => void }

/** Offers what the server allows: `viewerCan` depends on the user's status and on the caller's rights. */
export function UserActions({ user, onEdit, onProblem }: Props) {
  const client = useApolloClient()
  const [erasing, setErasing] = useState(false)

  async function run(action: Action) {
    if (action === "UPDATE") return onEdit(user)
    if (action === "ERASE") return setErasing(true)
    try {
      const { data } = await client.mutate({ mutation: TRANSITIONS[action]!, variables: { input: { id: user.id } } })
      onProblem(data?.write?.errors.map((error) => error.message).join(" ") ?? "")
    } catch (error) {
      onProblem((error as Error).message)
    }
  }
  return (
    <div className="actions">
      {user.viewerCan.filter((action) => TITLES[action]).map((action) => (
        <button key={action} aria-label={`${TITLES[action]} ${user.username}`} onClick={() => void run(action)}>{TITLES[action]}</button>
      ))}
      {erasing && <EraseDialog user={user} onClose={() => setErasing(false)} />}
    </div>
  )
}

function EraseDialog({ user, onClose }: { user: User; onClose: () => void }) {
  const [confirmUsername, setConfirmed] = useState("")
  const [reason, setReason] = useState("")
  const [erase, { data, loading, error }] = useMutation(ERASE)
  async function submit(event: FormEvent) {
    event.preventDefault()
    const result = await erase({ variables: { input: { id: user.id, confirmUsername, reason } } }).catch(() => null)
    if (result?.data?.write?.errors.length === 0) onClose()
  }
  return (
    <Dialog title={`Erase ${user.username}`} onClose={onClose}>
      <form onSubmit={submit}>
        <p>Personal data is removed from the user and the history. This cannot be undone.</p>
        <label>Username, to confirm<input required value={confirmUsername} onChange={(e) => setConfirmed(e.target.value)} /></label>
        <label>Reason<input required maxLength={500} value={reason} onChange={(e) => setReason(e.target.value)} /></label>
        {[error, ...(data?.write?.errors ?? [])].map((e) => e && <p role="alert" className="problem" key={e.message}>{e.message}</p>)}
        <footer><button type="button" onClick={onClose}>Cancel</button><button className="danger" disabled={loading}>Erase</button></footer>
      </form>
    </Dialog>
  )
}
