// Keeps a list equal to what the server would answer, without loading it again.
import { useApolloClient, useSubscription } from "@apollo/client/react"
import { useEffect, useRef } from "react"
import { COUNTS, EVENTS, MATCHES, USERS, type Edge, type ListVariables } from "./documents"

const WAIT = 100 // milliseconds in which events are collected
const MAX_IDS = 100 // of a filter

export function useLiveList(list: ListVariables) {
  const client = useApolloClient()
  const changed = useRef(new Set<string>())
  const current = useRef(list)
  const timer = useRef<number>(undefined)
  current.current = list
  useEffect(() => () => clearTimeout(timer.current), [])

  async function update() {
    timer.current = undefined
    const ids = [...changed.current].slice(0, MAX_IDS)
    for (const id of ids) changed.current.delete(id)
    if (changed.current.size) schedule()
    const variables = current.current
    void client.refetchQueries({ include: [COUNTS] })
    const { data } = await client.query({
      query: MATCHES,
      variables: { ...variables, ids },
      fetchPolicy: "no-cache",
    })
    if (data) client.cache.updateQuery({ query: USERS, variables }, (page) => page && {
      users: { ...page.users, edges: merged(page.users, ids, data.users.edges) },
    })
  }

  function schedule() {
    timer.current ??= window.setTimeout(() => void update(), WAIT)
  }

  useSubscription(EVENTS, {
    onData: ({ data: { data } }) => {
      if (!data) return
      changed.current.add(data.userEvents.userId)
      schedule()
    },
  })
}

// Replaces the changed rows by those that match. The newest user is first.
function merged(list: { edges: Edge[]; pageInfo: { hasNextPage: boolean } }, ids: string[], matching: Edge[]) {
  const kept = list.edges.filter(({ node }) => !ids.includes(node.id))
  const last = list.edges.at(-1)
  const isLoaded = (edge: Edge) => !list.pageInfo.hasNextPage || !last || byAge(edge, last) <= 0
  return [...kept, ...matching.filter(isLoaded)].sort(byAge)
}

// The default order of the API: users that were created in one transaction differ by their id.
function byAge({ node: a }: Edge, { node: b }: Edge) {
  return b.createdAt.localeCompare(a.createdAt) || Number(b.databaseId) - Number(a.databaseId)
}
