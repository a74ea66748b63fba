import { useEffect, useRef } from "react"
import type { User } from "./documents"
import { Problem } from "./Problem"
import { UserActions } from "./UserActions"
import type { useUsers } from "./users"

type Props = {
  users: ReturnType<typeof useUsers>
  search: string
  onEdit: (user: User) => void
  onNotice: (text: string) => void
}

export function UserTable({ users, search, onEdit, onNotice }: Props) {
  const { edges, loading, error, hasMore, loadMore } = users
  const end = useRef<HTMLParagraphElement>(null)
  useEffect(() => {
    if (!hasMore) return
    // A new observer is told at once whether the end is visible.
    const observer = new IntersectionObserver(([entry]) => entry!.isIntersecting && loadMore(), { rootMargin: "300px" })
    observer.observe(end.current!)
    return () => observer.disconnect()
  }, [hasMore, edges.length])

  return (
    <>
      <table aria-busy={loading} inert={users.isStale} className={users.isStale ? "stale" : ""}>
        <thead>
          <tr><th scope="col">Name</th><th scope="col">E-mail</th><th scope="col">Created</th><th scope="col"><span className="hidden">Actions</span></th></tr>
        </thead>
        <tbody>
          {edges.map(({ node: user }) => (
            <tr key={user.id}>
              <th scope="row">
                <span className="name">{user.displayName ?? user.username}</span>
                {user.displayName && <small>{user.username}</small>}
              </th>
              <td>{user.email}</td>
              <td><time dateTime={user.createdAt} title={new Date(user.createdAt).toLocaleString()}>{date.format(new Date(user.createdAt))}</time></td>
              <td><UserActions user={user} onEdit={onEdit} onDone={(text) => (users.changed(user.id), onNotice(text))} /></td>
            </tr>
          ))}
        </tbody>
      </table>
      {edges.length === 0 && !loading && !error && <p className="note empty">{search ? `No user matches “${search}”.` : "There are no users here."}</p>}
      {error && <Problem error={error} onRetry={users.retry} />}
      <p ref={end} className="note empty" role="status">{loading && edges.length > 0 ? "Loading…" : ""}</p>
    </>
  )
}

const date = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" })
