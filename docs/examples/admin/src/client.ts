import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, makeVar, ServerError } from "@apollo/client"
import { RetryLink } from "@apollo/client/link/retry"
import { GraphQLWsLink } from "@apollo/client/link/subscriptions"
import { relayStylePagination } from "@apollo/client/utilities"
import { OperationTypeNode } from "graphql"
import { createClient } from "graphql-ws"
import { tap } from "rxjs"

// A development server needs no token. `roster token` prints one, to try the rights of a user.
const TOKEN = "token"
const RESTARTING = [429, 502, 503, 504]
const FORBIDDEN = 4403 // closes a socket whose token is not accepted

export const token = () => sessionStorage.getItem(TOKEN) ?? ""
export function signIn(text: string) {
  sessionStorage.setItem(TOKEN, text.trim())
  location.reload()
}
const headers = () => (token() ? { authorization: `Bearer ${token()}` } : undefined)

/** Whether the socket for live changes is open. */
export const isConnected = makeVar(false)

const http = new HttpLink({
  uri: "/graphql",
  fetch: (uri, options) => fetch(uri, { ...options, headers: { ...options?.headers, ...headers() } }),
})
// Sends a request again after the connection was lost. Every write has a key, so that it happens once.
const retry = new RetryLink({
  delay: { initial: 300 },
  attempts: {
    max: 4,
    retryIf: (error) => (ServerError.is(error) ? RESTARTING.includes(error.statusCode) : error instanceof TypeError),
  },
})
const socket = new GraphQLWsLink(
  createClient({
    url: `${location.origin.replace(/^http/, "ws")}/graphql`,
    connectionParams: headers,
    retryAttempts: Infinity,
    shouldRetry: (event) => (event as CloseEvent).code !== FORBIDDEN,
    on: { connected: () => isConnected(true), closed: () => isConnected(false) },
  }),
)
// graphql-ws sends the same variables again when it reconnects: the feed then continues after the last event.
const resume = new ApolloLink((operation, forward) =>
  forward(operation).pipe(
    tap(({ data }) => {
      if (data) operation.variables.after = data.userEvents.cursor
    }),
  ),
)

export const client = new ApolloClient({
  link: ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    ApolloLink.from([resume, socket]),
    ApolloLink.from([retry, http]),
  ),
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
