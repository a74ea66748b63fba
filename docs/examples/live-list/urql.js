// LiveList for urql with Graphcache: `onChange` keeps the answer of a query in the cache.
// `query` selects `users(first: 100)`, with at most the fields of the list, and is read with `requestPolicy: "cache-only"`.
// `relayPagination` finds no list without arguments.
import { filter, map, merge, pipe, share } from "wonka"
import { page } from "./page.js"

const isKnown = ({ kind, context }) => kind === "query" && context.answer !== undefined

/** Answers queries whose context has an `answer`. Put it after `cacheExchange`, which then has it. */
export const answerExchange = ({ forward }) => (operations) => {
  const all = pipe(operations, share)
  const known = pipe(all, filter(isKnown), map((operation) => (
    { operation, data: operation.context.answer, stale: false, hasNext: false }
  )))
  return merge([known, pipe(all, filter((operation) => !isKnown(operation)), forward)])
}

export function onChangeOfUrql(client, query, variables = {}) {
  return (edges) => {
    const context = { requestPolicy: "network-only", answer: { __typename: "Query", users: page(edges) } }
    return client.query(query, variables, context).toPromise()
  }
}
