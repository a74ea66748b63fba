import { useState } from "react"
import { signIn, token } from "./client"
import type { Session } from "./documents"

/** Who sends the requests. */
export function RoleButton({ session }: { session: Session | null }) {
  return <button popoverTarget="role" className="quiet">{nameOf(session)} <span aria-hidden="true">▾</span></button>
}

/** For development: a token of `roster token` shows the page as another user sees it. Stays open while the page loads. */
export function RoleForm({ session }: { session: Session | null }) {
  const [text, setText] = useState("")
  return (
    <form id="role" popover="auto" onSubmit={(event) => (event.preventDefault(), signIn(text))}>
      <h2>Role: {nameOf(session)}</h2>
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
  )
}

function nameOf(session: Session | null) {
  return session?.viewer?.username ?? (token() ? "Token" : "Developer")
}
