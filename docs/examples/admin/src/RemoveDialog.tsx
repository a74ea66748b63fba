import { useState, type FormEvent } from "react"
import { Dialog } from "./Dialog"
import { DELETE, ERASE, type User, type UserError } from "./documents"
import { Field } from "./Field"
import { useWrite } from "./write"

type Props = { user: User; isErasure: boolean; onClose: () => void; onDone: (text: string) => void }

/** Asks before a user is deleted, or erased for ever. */
export function RemoveDialog({ user, isErasure, onClose, onDone }: Props) {
  const write = useWrite()
  const [confirmUsername, setConfirmed] = useState("")
  const [reason, setReason] = useState("")
  const [errors, setErrors] = useState<UserError[]>([])
  const [saving, setSaving] = useState(false)
  const verb = isErasure ? "Erase" : "Delete"

  async function submit(event: FormEvent) {
    event.preventDefault()
    setSaving(true)
    const { errors: found } = isErasure
      ? await write(ERASE, { id: user.id, confirmUsername, reason })
      : await write(DELETE, { id: user.id, reason: reason || null })
    setSaving(false)
    setErrors(found)
    if (found.length === 0) onDone(`${user.username} was ${isErasure ? "erased" : "deleted"}.`)
  }
  const forget = (name: string) => setErrors(errors.filter(({ path }) => path[1] !== name))
  const at = (name: string) => errors.filter(({ path }) => path[1] === name)
  const others = errors.filter(({ path }) => !["confirmUsername", "reason"].includes(path[1] ?? ""))
  return (
    <Dialog title={`${verb} ${user.username}?`} onClose={onClose}>
      <form noValidate onSubmit={(event) => void submit(event)}>
        <p>
          {isErasure
            ? "Personal data is removed from the user and the history. This cannot be undone."
            : "The user cannot sign in, and others can take the username and the e-mail address. You can restore the user later."}
        </p>
        {isErasure && <Field title="Username, to confirm" value={confirmUsername} errors={at("confirmUsername")} onChange={(text) => (setConfirmed(text), forget("confirmUsername"))} />}
        <Field title={isErasure ? "Reason" : "Reason (optional)"} value={reason} errors={at("reason")} onChange={(text) => (setReason(text), forget("reason"))} />
        {others.map(({ message }) => <p role="alert" className="problem" key={message}>{message}</p>)}
        <footer>
          <button type="button" onClick={onClose}>Cancel</button>
          <button className="danger" disabled={saving}>{verb}</button>
        </footer>
      </form>
    </Dialog>
  )
}
