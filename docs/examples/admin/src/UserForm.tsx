import { useApolloClient } from "@apollo/client/react"
import { useRef, useState, type FormEvent } from "react"
import { ConflictDialog } from "./ConflictDialog"
import { Dialog } from "./Dialog"
import { CREATE, UPDATE, type Conflict, type Input, type User, type UserError } from "./documents"
import { Field } from "./Field"
import { useWrite } from "./write"

const FIELDS = [["username", "Username"], ["email", "E-mail"], ["displayName", "Display name"]] as const
type Name = (typeof FIELDS)[number][0]
export type Values = Record<Name, string>
type Props = { user: User | null; onClose: () => void; onSaved: (user: User | null) => void }

const valuesOf = (user: User | null): Values => ({
  username: user?.username ?? "", email: user?.email ?? "", displayName: user?.displayName ?? "",
})

export function UserForm({ user, onClose, onSaved }: Props) {
  const client = useApolloClient()
  const write = useWrite()
  const [seen, setSeen] = useState(user) // the version that the form shows
  const [values, setValues] = useState(valuesOf(user))
  const [touched, setTouched] = useState<Name[]>([])
  const [errors, setErrors] = useState<UserError[]>([])
  const [saving, setSaving] = useState(false)
  const latest = useRef(0) // the answer to an older request is ignored
  const conflict = errors.find((error): error is Conflict => error.__typename === "VersionConflictError")
  const mutation = user ? UPDATE : CREATE

  // Only what was changed: other fields keep the values of other writers.
  const before = valuesOf(seen)
  const names = FIELDS.map(([name]) => name).filter((name) => !seen || values[name] !== before[name])
  const mine: Partial<Values> = Object.fromEntries(names.map((name) => [name, values[name]]))

  function input(version = seen?.version): Input {
    const texts = { ...mine, ...("displayName" in mine && { displayName: mine.displayName || null }) }
    return seen ? { ...texts, id: seen.id, expectedVersion: version } : texts
  }

  function change(name: Name, text: string) {
    setValues({ ...values, [name]: text })
    setErrors(errors.filter(({ path }) => path[1] !== name)) // they are about another text
  }

  async function check(name: Name) {
    setTouched((known) => [...known, name])
    const request = ++latest.current
    const variables = { input: { ...input(), validateOnly: true } }
    const result = await client.mutate({ mutation, variables }).catch(() => null) // the form can be sent nevertheless
    const found = result?.data?.write?.errors.filter((error) => error.__typename !== "VersionConflictError")
    if (found && request === latest.current) setErrors(found)
  }

  async function submit(event: FormEvent | null, version?: number) {
    event?.preventDefault()
    latest.current++
    setTouched(FIELDS.map(([name]) => name))
    setSaving(true)
    const { user: saved, errors: found } = await write(mutation, input(version))
    setSaving(false)
    setErrors(found)
    if (found.length === 0) onSaved(saved ?? null)
  }

  const general = errors.filter((error) => error !== conflict && !FIELDS.some(([name]) => name === error.path[1]))
  return (
    <Dialog title={user ? `Edit ${user.username}` : "New user"} onClose={onClose}>
      <form noValidate onSubmit={(event) => void submit(event)}>
        <fieldset disabled={saving}>
          {FIELDS.map(([name, title]) => (
            <Field
              key={name}
              title={title}
              value={values[name]}
              errors={touched.includes(name) ? errors.filter(({ path }) => path[1] === name) : []}
              onChange={(text) => change(name, text)}
              onBlur={() => void check(name)}
            />
          ))}
        </fieldset>
        {general.map(({ message }) => <p role="alert" className="problem" key={message}>{message}</p>)}
        <footer>
          <button type="button" onClick={onClose}>Cancel</button>
          <button className="primary" disabled={saving}>{user ? "Save" : "Create"}</button>
        </footer>
      </form>
      {conflict && (
        <ConflictDialog
          conflict={conflict}
          mine={mine}
          onKeep={() => void submit(null, conflict.actualVersion)}
          onTake={() => {
            setSeen(conflict.current)
            setValues(valuesOf(conflict.current))
            setErrors([])
          }}
          onClose={() => setErrors(errors.filter((error) => error !== conflict))}
        />
      )}
    </Dialog>
  )
}
