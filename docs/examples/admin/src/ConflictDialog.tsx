import { Dialog } from "./Dialog"
import type { UserError } from "./documents"
import type { Values } from "./UserForm"

type Props = {
  conflict: UserError; mine: Values; onKeep: () => void; onTake: () => void; onClose: () => void
}

/** Somebody else has changed the user since the form was opened: shows who, when and what. */
export function ConflictDialog({ conflict, mine, onKeep, onTake, onClose }: Props) {
  const { current, changedFields = [] } = conflict
  const last = current?.history?.nodes[0]
  const who = last?.actor.label ?? last?.actor.type.toLowerCase() ?? "Somebody"
  return (
    <Dialog title={`${current?.username} was changed meanwhile`} onClose={onClose}>
      <p>
        <strong>{who}</strong> changed this user
        {last && <> on <time dateTime={last.at}>{new Date(last.at).toLocaleString()}</time></>}. Nothing was saved yet.
      </p>
      <table>
        <thead><tr><th scope="col">Field</th><th scope="col">Now</th><th scope="col">In your form</th></tr></thead>
        <tbody>
          {changedFields.map((name) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td>{String(current?.[name as keyof Values] ?? "—")}</td>
              <td>{mine[name as keyof Values] || "—"}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <footer>
        <button onClick={onClose}>Back to the form</button>
        <button onClick={onTake}>Take theirs</button>
        <button className="primary" onClick={onKeep}>Save mine</button>
      </footer>
    </Dialog>
  )
}
