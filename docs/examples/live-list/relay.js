// LiveList for Relay: `onChange` keeps the answer of a query in the store.
// `query` selects `users`, with at most the fields of the list, and is read with `fetchPolicy: "store-only"`.
import relay from "relay-runtime"
import { page } from "./page.js"

export function onChangeOfRelay(environment, query, variables = {}) {
  const operation = relay.createOperationDescriptor(query, variables)
  environment.retain(operation)
  return (edges, changes) => {
    environment.commitPayload(operation, { users: page(edges) })
    relay.commitLocalUpdate(environment, (store) => {
      for (const [id, edge] of changes) if (!edge) store.delete(id) // deleted, erased or hidden
    })
  }
}
