import { Dialog } from "./Dialog"
import type { Change, Conflict } from "./documents"
import type { Values } from "./UserForm"

const TITLES: Record<string, string> = {
  USERNAME: "Username", EMAIL: "E-mail", DISPLAY_NAME: "Display name", STATUS: "Status", STATUS_REASON: "Reason",
  EXTERNAL_ID: "External id", ERASE_AFTER: "Erase after",
}
const NAMES: Record<string, keyof Values> = { USERNAME: "username", EMAIL: "email", DISPLAY_NAME: "displayName" }
type Props = { conflict: Conflict; mine: Partial<Values>; onKeep: () => void; onTake: () => void; onClose: () => void }

/** Somebody else has changed the user since the form was opened: shows who, when and what. */
export function ConflictDialog({ conflict, mine, onKeep, onTake, onClose }: Props) {
  const { current, changedBy, changedAt, changes } = conflict
  const who = changedBy?.label ?? changedBy?.type.toLowerCase() ?? "Somebody"
  return (
    <Dialog title={`${current.username} was changed meanwhile`} onClose={onClose}>
      <p>
        <strong>{who}</strong> changed this user on <time dateTime={changedAt}>{new Date(changedAt).toLocaleString()}</time>.
        Nothing of yours was saved yet.
      </p>
      {changes && (
        <table>
          <thead><tr><th scope="col">Field</th><th scope="col">Before</th><th scope="col">Now</th><th scope="col">Yours</th></tr></thead>
          <tbody>
            {changes.map((change) => (
              <tr key={change.fieldName}>
                <th scope="row">{TITLES[change.fieldName] ?? change.fieldName}</th>
                <td>{text(change, "before")}</td>
                <td>{text(change, "after")}</td>
                <td>{own(NAMES[change.fieldName], mine)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <footer>
        <button onClick={onClose}>Back to the form</button>
        <button onClick={onTake}>Take theirs</button>
        {current.viewerCan.includes("UPDATE") && <button className="primary" onClick={onKeep}>Save mine</button>}
      </footer>
    </Dialog>
  )
}

function own(name: keyof Values | undefined, mine: Partial<Values>) {
  return name && name in mine ? mine[name] || "(empty)" : "—"
}

function text(change: Change, side: "before" | "after") {
  return change.redacted ? "(erased)" : (change[side] ?? "—")
}
