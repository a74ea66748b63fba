import { CombinedGraphQLErrors } from "@apollo/client"
import { signIn, token } from "./client"

/** An error that a form cannot fix. A token that is no longer accepted can be removed. */
export function Problem({ error, onRetry }: { error: Error; onRetry: () => void }) {
  const errors = CombinedGraphQLErrors.is(error) ? error.errors : [error as { message: string; extensions?: { code?: string } }]
  const messages = new Set(errors.map(({ message }) => message)) // two fields can have the same one
  const signedOut = token() !== "" && errors.some(({ extensions }) => extensions?.code === "UNAUTHENTICATED")
  return (
    <div role="alert" className="problem">
      <span>{[...messages].join(" ")}</span>
      {signedOut && <button onClick={() => signIn("")}>Remove the token</button>}
      <button onClick={onRetry}>Try again</button>
    </div>
  )
}
