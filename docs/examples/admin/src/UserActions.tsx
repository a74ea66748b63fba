import { useState } from "react"
import { DEACTIVATE, REACTIVATE, RESTORE, type Action, type User, type Write } from "./documents"
import { RemoveDialog } from "./RemoveDialog"
import { useWrite } from "./write"

const TITLES: Partial<Record<Action, string>> = {
  UPDATE: "Edit", DEACTIVATE: "Deactivate", REACTIVATE: "Reactivate", RESTORE: "Restore", DELETE: "Delete", ERASE: "Erase",
}
const TRANSITIONS: Partial<Record<Action, [Write, string]>> = {
  DEACTIVATE: [DEACTIVATE, "deactivated"], REACTIVATE: [REACTIVATE, "reactivated"], RESTORE: [RESTORE, "restored as deactivated"],
}
type Props = { user: User; onEdit: (user: User) => void; onDone: (text: string) => void }

/** Offers what the server allows: `viewerCan` depends on the user's status and on the caller's rights. */
export function UserActions({ user, onEdit, onDone }: Props) {
  const write = useWrite()
  const [removal, setRemoval] = useState<"DELETE" | "ERASE" | null>(null)
  const [problem, setProblem] = useState("")

  async function run(action: Action) {
    if (action === "UPDATE") return onEdit(user)
    if (action === "DELETE" || action === "ERASE") return setRemoval(action)
    const [mutation, done] = TRANSITIONS[action]!
    const { errors } = await write(mutation, { id: user.id })
    setProblem(errors.map(({ message }) => message).join(" "))
    if (errors.length === 0) onDone(`${user.username} was ${done}.`)
  }
  return (
    <div className="actions">
      {user.viewerCan.filter((action) => TITLES[action]).map((action) => (
        <button key={action} className="quiet" aria-label={`${TITLES[action]} ${user.username}`} onClick={() => void run(action)}>{TITLES[action]}</button>
      ))}
      {user.erasedAt && <span className="note">Erased</span>}
      {problem && <p role="alert" className="error">{problem}</p>}
      {removal && (
        <RemoveDialog
          user={user}
          isErasure={removal === "ERASE"}
          onClose={() => setRemoval(null)}
          onDone={(text) => {
            setRemoval(null)
            onDone(text)
          }}
        />
      )}
    </div>
  )
}
