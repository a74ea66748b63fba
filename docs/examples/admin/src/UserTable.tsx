import { useQuery } from "@apollo/client/react"
import { useEffect, useRef, useState } from "react"
import { USERS, type Status, type User } from "./documents"
import { useLiveList } from "./live"
import { UserActions } from "./UserActions"

type Props = { status: Status; search: string; onEdit: (user: User) => void }

export function UserTable({ status, search, onEdit }: Props) {
  const variables = { status: [status], search }
  // Apollo shows the result of the latest variables, whichever answer arrives first.
  const { data, previousData, loading, error, fetchMore, refetch } = useQuery(USERS, {
    variables,
    fetchPolicy: "cache-and-network",
    nextFetchPolicy: "cache-first",
  })
  const [problem, setProblem] = useState("")
  useLiveList(variables)
  const page = (data ?? previousData)?.users
  const end = useWhenVisible(() => {
    const { hasNextPage, endCursor } = data?.users.pageInfo ?? {}
    if (hasNextPage) return fetchMore({ variables: { after: endCursor } })
  })

  if (error && !page) {
    return <p role="alert" className="problem">{error.message} <button onClick={() => refetch()}>Try again</button></p>
  }
  return (
    <>
      {problem && <p role="alert" className="problem">{problem} <button onClick={() => setProblem("")}>Close</button></p>}
      <table aria-busy={loading} className={data ? "" : "stale"}>
        <thead>
          <tr><th scope="col">Name</th><th scope="col">Username</th><th scope="col">E-mail</th><th scope="col">Created</th><th scope="col">Actions</th></tr>
        </thead>
        <tbody>
          {page?.edges.map(({ node: user }) => (
            <tr key={user.id}>
              <th scope="row">{user.displayName ?? <span className="none">No name</span>}</th>
              <td>{user.username}</td>
              <td>{user.email}</td>
              <td><time dateTime={user.createdAt}>{new Date(user.createdAt).toLocaleDateString()}</time></td>
              <td><UserActions user={user} onEdit={onEdit} onProblem={setProblem} /></td>
            </tr>
          ))}
        </tbody>
      </table>
      {page?.edges.length === 0 && !loading && <p className="none empty">{search ? `No user matches “${search}”.` : "There are no users here."}</p>}
      <p ref={end} className="none empty" aria-live="polite">{page?.pageInfo.hasNextPage ? "Loading more…" : ""}</p>
    </>
  )
}

/** Calls a function whenever the element is visible, and again after it has finished. */
function useWhenVisible(load: () => Promise<unknown> | undefined) {
  const element = useRef<HTMLParagraphElement>(null)
  const latest = useRef(load)
  latest.current = load
  useEffect(() => {
    let visible = false
    let busy = false
    async function run() {
      while (visible && !busy) {
        busy = true
        const loaded = latest.current()
        await loaded?.catch(() => undefined)
        await new Promise(requestAnimationFrame) // the new rows move the element
        busy = false
        if (!loaded) await new Promise((done) => setTimeout(done, 200))
      }
    }
    const observer = new IntersectionObserver((entries) => {
      visible = entries.at(-1)?.isIntersecting ?? false
      void run()
    }, { rootMargin: "300px" })
    observer.observe(element.current!)
    return () => {
      visible = false
      observer.disconnect()
    }
  }, [])
  return element
}
