import { useState } from "react"
import { signIn, token } from "./client"
import type { Session } from "./documents"

/** Who sends the requests. For development: a token of `roster token` shows the page as another user sees it. */
export function Role({ session }: { session: Session | null }) {
  const [text, setText] = useState("")
  const name = session?.viewer?.username ?? (token() ? "Token" : "Developer")
  return (
    <>
      <button popoverTarget="role" className="quiet">{name} <span aria-hidden="true">▾</span></button>
      <form id="role" popover="auto" onSubmit={(event) => (event.preventDefault(), signIn(text))}>
        <h2>Role: {name}</h2>
        <p className="note">
          {session && (session.viewerScopes.map((scope) => `users:${scope.toLowerCase()}`).join(", ") || "No scopes")}
        </p>
        <label>
          Token
          <textarea rows={4} required spellCheck={false} autoComplete="off" value={text} onChange={(event) => setText(event.target.value)} />
        </label>
        <p className="note">On a development server, this command prints one: <code>roster token --as ada --scope users:read</code></p>
        <footer>
          {token() && <button type="button" onClick={() => signIn("")}>Remove the token</button>}
          <button className="primary">Use this token</button>
        </footer>
      </form>
    </>
  )
}
