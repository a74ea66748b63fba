import { useState } from "react"
import { token, useToken as signIn } from "./client"
import type { User } from "./documents"

/** Who sends the requests. A token of `roster token` shows the page as another user sees it. */
export function Role({ viewer }: { viewer: User | null }) {
  const [text, setText] = useState("")
  return (
    <details className="role">
      <summary>{viewer ? `As ${viewer.username}` : token() ? "With a token" : "Developer"}</summary>
      <form onSubmit={(event) => (event.preventDefault(), signIn(text))}>
        <label>
          Token
          <input autoComplete="off" value={text} onChange={(event) => setText(event.target.value)} />
        </label>
        <p>Print one with <code>roster token --as ada --scope users:read</code>. Empty means every right.</p>
        <button>Use this token</button>
      </form>
    </details>
  )
}
