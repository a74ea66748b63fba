import { useId } from "react"
import type { UserError } from "./documents"

type Props = { title: string; value: string; errors: UserError[]; onChange: (text: string) => void; onBlur?: () => void }

/** A text of a form, with the server's errors for it. */
export function Field({ title, value, errors, onChange, onBlur }: Props) {
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
