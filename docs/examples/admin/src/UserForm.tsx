import { useMutation } from "@apollo/client/react"
import { useId, useRef, useState, type FormEvent } from "react"
import { ConflictDialog } from "./ConflictDialog"
import { Dialog } from "./Dialog"
import { CREATE, UPDATE, type User, type UserError } from "./documents"

const FIELDS = [["username", "Username"], ["email", "E-mail"], ["displayName", "Display name"]] as const
type Name = (typeof FIELDS)[number][0]
export type Values = Record<Name, string>

const valuesOf = (user: User | null): Values => ({
  username: user?.username ?? "", email: user?.email ?? "", displayName: user?.displayName ?? "",
})

export function UserForm({ user, onClose }: { user: User | null; onClose: () => void }) {
  const [seen, setSeen] = useState(user) // the version that the form shows
  const [values, setValues] = useState(valuesOf(user))
  const [touched, setTouched] = useState<Name[]>([])
  const [errors, setErrors] = useState<UserError[]>([])
  const [failure, setFailure] = useState("")
  const [idempotencyKey] = useState(() => crypto.randomUUID()) // a retry creates no second user
  const [saving, setSaving] = useState(false)
  const [save] = useMutation(user ? UPDATE : CREATE)
  const latest = useRef(0) // the answer to an older request is ignored
  const conflict = errors.find((error) => error.__typename === "VersionConflictError")

  function input(version?: number) {
    const texts = { ...values, displayName: values.displayName || null }
    if (!seen) return texts
    // Only what was changed: other fields keep the values of other writers.
    const before = valuesOf(seen)
    const changed = Object.fromEntries(Object.entries(texts).filter(([name, text]) => (text ?? "") !== before[name as Name]))
    return { ...changed, id: seen.id, expectedVersion: version ?? seen.version }
  }

  async function send(extra: object, version?: number) {
    const request = ++latest.current
    try {
      const { data } = await save({ variables: { input: { ...input(version), ...extra } } })
      if (request !== latest.current) return null
      setFailure("")
      return data?.write?.errors ?? []
    } catch (error) {
      if (request === latest.current) setFailure((error as Error).message)
      return null
    }
  }

  async function check(name: Name) {
    setTouched((known) => [...known, name])
    const found = await send({ validateOnly: true })
    if (found) setErrors(found.filter((error) => error.__typename !== "VersionConflictError"))
  }

  async function submit(event: FormEvent | null, version?: number) {
    event?.preventDefault()
    setTouched(FIELDS.map(([name]) => name))
    setSaving(true)
    const found = await send(user ? {} : { idempotencyKey }, version)
    setSaving(false)
    if (found?.length === 0) onClose()
    else if (found) setErrors(found)
  }

  const general = errors.filter(({ path }) => !FIELDS.some(([name]) => name === path[1]) && conflict === undefined)
  return (
    <Dialog title={user ? `Edit ${user.username}` : "New user"} onClose={onClose}>
      <form noValidate onSubmit={(event) => void submit(event)}>
        {FIELDS.map(([name, title]) => (
          <Field
            key={name}
            title={title}
            value={values[name]}
            errors={touched.includes(name) ? errors.filter(({ path }) => path[1] === name) : []}
            onChange={(text) => setValues({ ...values, [name]: text })}
            onBlur={() => void check(name)}
          />
        ))}
        {[...general.map((error) => error.message), failure].map((text) => text && <p role="alert" className="problem" key={text}>{text}</p>)}
        <footer>
          <button type="button" onClick={onClose}>Cancel</button>
          <button className="primary" disabled={saving}>{user ? "Save" : "Create"}</button>
        </footer>
      </form>
      {conflict?.current && (
        <ConflictDialog
          conflict={conflict}
          mine={values}
          onKeep={() => void submit(null, conflict.current!.version)}
          onTake={() => {
            setSeen(conflict.current!)
            setValues(valuesOf(conflict.current!))
            setErrors([])
          }}
          onClose={() => setErrors([])}
        />
      )}
    </Dialog>
  )
}

type FieldProps = {
  title: string; value: string; errors: UserError[]; onChange: (text: string) => void; onBlur: () => void
}
function Field({ title, value, errors, onChange, onBlur }: FieldProps) {
  const id = useId()
  return (
    <label>
      {title}
      <input
        value={value}
        autoComplete="off"
        aria-invalid={errors.length > 0}
        aria-describedby={id}
        onChange={(event) => onChange(event.target.value)}
        onBlur={onBlur}
      />
      <span id={id} className="error" aria-live="polite">{errors.map((error) => error.message).join(" ")}</span>
    </label>
  )
}
