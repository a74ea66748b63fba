// The list of a tab, kept equal to what the server would answer without loading it again.
import { useApolloClient, useQuery, useSubscription } from "@apollo/client/react"
import { useEffect, useRef, useState } from "react"
import { EVENTS, MATCHES, USERS, type Edge, type ListVariables, type Page } from "./documents"

const WAIT = 100 // milliseconds in which changes are collected
const WAIT_AFTER_ERROR = 3000
const MAX_IDS = 100 // of a filter

export function useUsers(list: ListVariables, followFrom: string | null) {
  // The result is that of the latest variables, whichever answer arrives first.
  const { data, previousData, loading, error, fetchMore, refetch } = useQuery(USERS, {
    variables: list,
    fetchPolicy: "cache-and-network",
    nextFetchPolicy: "cache-first",
  })
  const [pageError, setPageError] = useState<Error>()
  const changed = useChanges(list, loading)
  const live = useSubscription(EVENTS, {
    variables: { after: followFrom },
    skip: followFrom === null,
    ignoreResults: true,
    onData: ({ data: { data } }) => data && changed(data.userEvents.userId),
  })
  const page = data ?? previousData
  const { hasNextPage, endCursor } = data?.users.pageInfo ?? {}

  return {
    edges: error && !data ? [] : (page?.users.edges ?? []),
    counts: page?.counts.statusCounts,
    loading,
    isStale: !data, // the rows are those of the list before
    error: error ?? pageError,
    retry: () => (pageError ? setPageError(undefined) : void refetch().catch(() => undefined)),
    liveError: live.error,
    hasMore: hasNextPage && !loading && !pageError,
    loadMore: () => void fetchMore({ variables: { after: endCursor, isNext: true } }).catch(setPageError),
    changed,
  }
}

/** Returns a function to call with the id of a user who has changed: their row then enters, leaves or moves. */
function useChanges(list: ListVariables, loading: boolean) {
  const client = useApolloClient()
  const ids = useRef(new Set<string>())
  const [wait, setWait] = useState<number | null>(null) // until the next update, if there is one
  const [updating, setUpdating] = useState(false)

  async function update() {
    const some = [...ids.current].slice(0, MAX_IDS)
    for (const id of some) ids.current.delete(id)
    setWait(ids.current.size ? WAIT : null)
    setUpdating(true)
    try {
      const variables = { ...list, ids: some }
      const { data } = await client.query({ query: MATCHES, variables, fetchPolicy: "no-cache" })
      client.cache.updateQuery({ query: USERS, variables: list }, (page) => page && data && {
        counts: data.counts,
        users: { ...page.users, edges: merged(page.users, some, data.users.edges) },
      })
    } catch {
      for (const id of some) ids.current.add(id)
      setWait(WAIT_AFTER_ERROR)
    }
    setUpdating(false)
  }
  const latest = useRef(update)
  latest.current = update

  // One at a time: an answer that is on its way can be older than the change, and must not come after it.
  useEffect(() => {
    if (wait === null || loading || updating) return
    const timer = setTimeout(() => void latest.current(), wait)
    return () => clearTimeout(timer)
  }, [wait, loading, updating])

  return (id: string) => {
    ids.current.add(id)
    setWait((known) => known ?? WAIT)
  }
}

// Replaces the changed rows by those that match.
function merged(list: Page["users"], ids: string[], matching: Edge[]) {
  const last = list.edges.at(-1)
  const isLoaded = (edge: Edge) => !list.pageInfo.hasNextPage || !last || byAge(edge, last) <= 0
  return [...list.edges.filter(({ node }) => !ids.includes(node.id)), ...matching.filter(isLoaded)].sort(byAge)
}

// The order of the list: users that were created in one transaction differ by their id.
function byAge({ node: a }: Edge, { node: b }: Edge) {
  return b.createdAt.localeCompare(a.createdAt) || Number(b.databaseId) - Number(a.databaseId)
}
