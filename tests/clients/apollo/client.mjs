// Apollo Client as docs/clients.md configures it.
import { ApolloClient, HttpLink, InMemoryCache } from "@apollo/client"
import { relayStylePagination } from "@apollo/client/utilities"
import { readFile } from "node:fs/promises"
import { authorization } from "../directory.mjs"

const { possibleTypes, keys } = JSON.parse(await readFile("possible-types.json", "utf8"))

function httpLink(url) {
  return new HttpLink({ uri: `${url}/graphql`, headers: authorization() })
}

export function newClient(url, link = httpLink(url)) {
  const embedded = Object.keys(keys).filter((type) => keys[type] === null)
  const cache = new InMemoryCache({
    possibleTypes,
    typePolicies: {
      ...Object.fromEntries(embedded.map((type) => [type, { keyFields: false }])),
      Query: {
        fields: {
          users: relayStylePagination(["filter", "search", "orderBy"]),
          userEvents: relayStylePagination(["filter", "orderBy"]),
        },
      },
      User: { fields: { history: relayStylePagination(["orderBy"]) } },
    },
  })
  return new ApolloClient({ cache, link })
}
