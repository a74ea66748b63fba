// LiveList for Apollo Client 4: `onChange` keeps the answer of a query in the cache.
// `query` selects `users`, with at most the fields of the list, and is read with `fetchPolicy: "cache-only"`.
import { page } from "./page.js"

export function onChangeOfApollo(client, query, variables) {
  return (edges, changes) => client.cache.batch({
    update(cache) {
      cache.writeQuery({ query, variables, data: { users: page(edges) } })
      for (const [id, edge] of changes) {
        if (!edge) cache.evict({ id: cache.identify({ __typename: "User", id }) }) // deleted, erased or hidden
      }
      cache.gc()
    },
  })
}
