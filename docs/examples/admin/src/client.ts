import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from "@apollo/client"
import { GraphQLWsLink } from "@apollo/client/link/subscriptions"
import { relayStylePagination } from "@apollo/client/utilities"
import { OperationTypeNode } from "graphql"
import { createClient } from "graphql-ws"

// A development server needs no token. `roster token` prints one, to try the rights of a user.
const TOKEN = "token"
export const token = () => sessionStorage.getItem(TOKEN) ?? ""
export function useToken(text: string) {
  sessionStorage.setItem(TOKEN, text.trim())
  location.reload()
}
const headers = () => (token() ? { authorization: `Bearer ${token()}` } : undefined)

const http = new HttpLink({
  uri: "/graphql",
  fetch: (uri, options) => fetch(uri, { ...options, headers: { ...options?.headers, ...headers() } }),
})
const socket = new GraphQLWsLink(
  createClient({
    url: `${location.origin.replace(/^http/, "ws")}/graphql`,
    connectionParams: headers,
    retryAttempts: Infinity,
  }),
)

export const client = new ApolloClient({
  link: ApolloLink.split(({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION, socket, http),
  cache: new InMemoryCache({
    typePolicies: {
      Query: { fields: { users: relayStylePagination(["filter", "search", "orderBy"]) } },
      Actor: { keyFields: false },
    },
    possibleTypes: {
      UserError: ["FieldError", "GenericError", "NotFoundError", "TransitionError", "VersionConflictError"],
    },
  }),
})
