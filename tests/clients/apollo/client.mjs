// Apollo Client as docs/clients.md configures it.
import { ApolloClient, HttpLink, InMemoryCache } from "@apollo/client"
import { relayStylePagination } from "@apollo/client/utilities"
import { readFile } from "node:fs/promises"

// Printed by `roster schema --possible-types`.
const { possibleTypes, keys } = JSON.parse(await readFile("possible-types.json", "utf8"))

// Some types have an `id` that names something else, such as `Actor.id`.
const embedded = Object.fromEntries(
  Object.keys(keys).filter((type) => keys[type] === null).map((type) => [type, { keyFields: false }]),
)

export function newCache() {
  return new InMemoryCache({
    possibleTypes,
    typePolicies: {
      Query: { fields: { users: relayStylePagination(["filter", "search", "orderBy"]) } },
      ...embedded,
    },
  })
}

export function newClient(url, link = new HttpLink({ uri: `${url}/graphql` })) {
  return new ApolloClient({ cache: newCache(), link })
}
