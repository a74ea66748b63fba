import { ApolloLink, CombinedGraphQLErrors, HttpLink, Observable, gql } from "@apollo/client"
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries"
import { RetryLink } from "@apollo/client/link/retry"
import { GraphQLWsLink } from "@apollo/client/link/subscriptions"
import { generatePersistedQueryIdsFromManifest } from "@apollo/persisted-query-lists"
import { print } from "graphql"
import { createClient as createSseClient } from "graphql-sse"
import { createClient as createWsClient } from "graphql-ws"
import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { readFile } from "node:fs/promises"
import { createUsers, follow, next, send, usernames } from "../directory.mjs"
import { newClient } from "./client.mjs"

const COUNT = gql`query Count { users { totalCount } }`
const EVENTS = gql`subscription Events($after: String) {
  userEvents(after: $after) { id cursor type user { id username displayName } }
}`
const CREATE = gql`mutation Create($input: CreateUserInput!) {
  createUser(input: $input) { user { id username } replayed errors { code } }
}`
const CREATE_ANOTHER = `mutation { createUser(input: {username: "mia", email: "m@example.com"}) {
  user { id }
} }`
const NEWEST = "{ userEvents(last: 1) { nodes { cursor } } }"

const sha256 = (text) => createHash("sha256").update(text).digest("hex")

/** Records the bodies of requests, and lets the first answers get lost on the way. */
function recordingFetch(requests, lost = 0) {
  return async (uri, options) => {
    requests.push(JSON.parse(options.body))
    const response = await fetch(uri, options)
    if (requests.length > lost) return response
    await response.text()
    throw new TypeError("the connection was lost")
  }
}

export async function retriedCreationIsReplayedByItsKey(url) {
  const requests = []
  const link = ApolloLink.from([
    new RetryLink({ delay: { initial: 1, jitter: false }, attempts: { max: 3 } }),
    new HttpLink({ uri: `${url}/graphql`, fetch: recordingFetch(requests, 2) }),
  ])
  const input = { username: "ada", email: "ada@example.com", idempotencyKey: crypto.randomUUID() }
  const { data } = await newClient(url, link).mutate({ mutation: CREATE, variables: { input } })
  assert.equal(requests.length, 3)
  assert.equal(data.createUser.replayed, true)
  assert.equal(data.createUser.user.username, "ada")
  assert.deepEqual(data.createUser.errors, [])
  assert.deepEqual(await usernames(url), ["ada"])
}

export async function sseLinkDeliversEvents(url) {
  const client = createSseClient({ url: `${url}/graphql` })
  const link = new ApolloLink(({ query, ...operation }) => new Observable((observer) =>
    client.subscribe({ ...operation, query: print(query) }, observer)))
  await deliversEventsAndUpdatesTheCache(url, link)
}

export async function webSocketLinkDeliversEvents(url) {
  const client = createWsClient({ url: `${url.replace("http", "ws")}/graphql` })
  await deliversEventsAndUpdatesTheCache(url, new GraphQLWsLink(client))
}

async function deliversEventsAndUpdatesTheCache(url, link) {
  const [{ id }] = await createUsers(url, "ada")
  const { userEvents } = await send(url, NEWEST)
  const after = userEvents.nodes[0].cursor
  const client = newClient(url, ApolloLink.split(
    ({ operationType }) => operationType === "subscription",
    link,
    new HttpLink({ uri: `${url}/graphql` }),
  ))
  const query = gql`query User($id: ID!) { user(id: $id) { id displayName } }`
  await client.query({ query, variables: { id } })
  const events = follow(client.subscribe({ query: EVENTS, variables: { after } }))
  const first = next(events)
  const RENAME = `mutation ($id: ID!) {
    updateUser(input: {id: $id, displayName: "Ada King"}) { changed }
  }`
  await send(url, RENAME, { id })
  const { data } = await first
  assert.equal(data.userEvents.type, "UPDATED")
  assert.equal(client.readQuery({ query, variables: { id } }).user.displayName, "Ada King")
  await send(url, CREATE_ANOTHER)
  const second = (await next(events)).data.userEvents
  assert.deepEqual([second.type, second.user.username], ["CREATED", "mia"])
  await events.return()
}

export async function invalidCursorOverWebSocketIsAnErrorWithACode(url) {
  await createUsers(url, "ada")
  const client = createWsClient({ url: `${url.replace("http", "ws")}/graphql` })
  const events = follow(
    newClient(url, new GraphQLWsLink(client)).subscribe({ query: EVENTS, variables: { after: "x" } }),
  )
  const { error } = await next(events)
  assert.ok(CombinedGraphQLErrors.is(error), String(error))
  assert.equal(error.errors[0].extensions.code, "INVALID_CURSOR")
}

function extensions({ extensions: sent = {} }) {
  return typeof sent === "string" ? JSON.parse(sent) : sent
}

export async function automaticPersistedQueryFallsBackToTheText(url) {
  for (const useGETForHashedQueries of [false, true]) {
    const requests = []
    const link = ApolloLink.from([
      new PersistedQueryLink({ sha256, useGETForHashedQueries }),
      new HttpLink({
        uri: `${url}/graphql`,
        fetch: async (uri, options) => {
          const sent = options.body ? JSON.parse(options.body) : Object.fromEntries(new URL(uri).searchParams)
          requests.push([options.method, "query" in sent, "persistedQuery" in extensions(sent)])
          return fetch(uri, options)
        },
      }),
    ])
    const client = newClient(url, link)
    assert.deepEqual((await client.query({ query: COUNT })).data.users.totalCount, 0)
    await client.query({ query: COUNT, fetchPolicy: "network-only" })
    const hashed = useGETForHashedQueries ? "GET" : "POST"
    // The link stops sending hashes after the first answer.
    const text = requests.slice(1).map(([, query, hash]) => [query, hash])
    assert.deepEqual(requests[0], [hashed, false, true])
    assert.deepEqual(text, [[true, false], [true, false]])
  }
}

/** For a server with the manifest, which accepts only its documents. */
export async function persistedManifestReplacesTheTexts(url) {
  const manifest = JSON.parse(await readFile("persisted-query-manifest.json", "utf8"))
  const requests = []
  const link = ApolloLink.from([
    new PersistedQueryLink(generatePersistedQueryIdsFromManifest({ loadManifest: async () => manifest })),
    new HttpLink({ uri: `${url}/graphql`, fetch: recordingFetch(requests) }),
  ])
  const query = gql(await readFile("apollo/users.graphql", "utf8"))
  const { data } = await newClient(url, link).query({ query, variables: { first: 1 } })
  assert.deepEqual(data.users.edges, [])
  assert.equal(requests.length, 1)
  assert.equal(requests[0].query, undefined)
  assert.equal(requests[0].extensions.persistedQuery.sha256Hash, manifest.operations[0].id)
  const plain = newClient(url)
  await assert.rejects(plain.query({ query: COUNT }), (error) =>
    error.errors[0].extensions.code === "DOCUMENT_NOT_TRUSTED")
}
