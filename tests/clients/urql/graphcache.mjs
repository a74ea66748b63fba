import { gql } from "@urql/core"
import assert from "node:assert/strict"
import { AUTHORS, createUsers, follow, next, send, writeByServiceAndUser } from "../directory.mjs"
import { done, newClient } from "./client.mjs"

const USER = gql`query User($id: ID!) { user(id: $id) { id username displayName version } }`
const PAGE = gql`query Page($first: Int, $after: String, $last: Int, $before: String) {
  users(first: $first, after: $after, last: $last, before: $before,
        orderBy: [{ field: USERNAME }]) {
    edges { cursor node { id username } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}`
const LIST = gql`query List { users(first: 10) { edges { cursor node { id username } } } }`
const RENAME = gql`mutation Rename($input: UpdateUserInput!) {
  updateUser(input: $input) {
    user { id displayName version }
    errors { code message path ... on FieldError { max } }
  }
}`
const CREATE = gql`mutation Create($input: CreateUserInput!) {
  createUser(input: $input) { userEdge { cursor node { id username } } errors { code } }
}`
const DELETE = gql`mutation Delete($input: DeleteUserInput!) {
  deleteUser(input: $input) { deletedUserId errors { code } }
}`
const HISTORY = gql`query History($id: ID!) {
  user(id: $id) { id history { nodes { id actor { type label } changes { fieldName after } } } }
}`
const EVENTS = gql`subscription Events($after: String) {
  userEvents(after: $after) { id cursor type user { id username displayName } }
}`

const names = ({ users }) => users.edges.map((edge) => edge.node.username)
const cached = { requestPolicy: "cache-only" }

export async function usersAreNormalisedById(url) {
  const [{ id }] = await createUsers(url, "ada")
  const client = newClient(url)
  await done(client.query(USER, { id }))
  await done(client.mutation(RENAME, { input: { id, displayName: "Ada King" } }))
  const { user } = client.readQuery(USER, { id }).data
  assert.deepEqual([user.displayName, user.version], ["Ada King", 2])
}

export async function typesWithoutIdentityAreEmbeddedWithoutWarnings(url) {
  const [{ id }] = await createUsers(url, "ada")
  const client = newClient(url) // its logger fails the test
  const { user } = await done(client.query(HISTORY, { id }))
  assert.equal(user.history.nodes[0].actor.type, "SYSTEM")
}

export async function authorsWithTheSameIdAreNotMerged(url) {
  await writeByServiceAndUser(url)
  const query = gql(AUTHORS)
  const client = newClient(url)
  const fetched = await done(client.query(query, {}))
  const authors = fetched.userEvents.nodes.map(({ actor }) => [actor.type, actor.id])
  assert.deepEqual(authors, [["SERVICE", "1"], ["USER", "1"]])
  assert.deepEqual(await done(client.query(query, {}, cached)), fetched)
}

export async function relayPaginationGoesInBothDirections(url) {
  await createUsers(url, ..."abcdefg".split("").map((letter) => letter.repeat(3)))
  const expected = ["aaa", "bbb", "ccc", "ddd", "eee", "fff", "ggg"]
  const client = newClient(url)
  let page = await done(client.query(PAGE, { first: 3 }))
  assert.deepEqual(names(page), ["aaa", "bbb", "ccc"])
  while (page.users.pageInfo.hasNextPage) {
    page = await done(client.query(PAGE, { first: 3, after: page.users.pageInfo.endCursor }))
  }
  assert.deepEqual(names(page), expected)

  const fresh = newClient(url)
  let end = await done(fresh.query(PAGE, { last: 3 }))
  assert.deepEqual(names(end), ["eee", "fff", "ggg"])
  while (end.users.pageInfo.hasPreviousPage) {
    end = await done(fresh.query(PAGE, { last: 3, before: end.users.pageInfo.startCursor }))
  }
  assert.deepEqual(names(end), expected)
}

export async function optimisticUpdateIsReplacedByTheAnswer(url) {
  const [{ id }] = await createUsers(url, "ada")
  const client = newClient(url, {
    optimistic: {
      updateUser: ({ input }) => ({
        __typename: "UpdateUserPayload",
        user: { __typename: "User", id: input.id, displayName: input.displayName, version: 2 },
        errors: [],
      }),
    },
  })
  const seen = []
  client.query(USER, { id }).subscribe(({ data }) => seen.push(data.user.displayName))
  await done(client.query(USER, { id }))
  await done(client.mutation(RENAME, { input: { id, displayName: " Ada King " } }))
  assert.deepEqual(seen, [null, " Ada King ", "Ada King"]) // the server trims the name
}

export async function optimisticUpdateIsRolledBackOnPayloadErrors(url) {
  const [{ id }] = await createUsers(url, "ada")
  const client = newClient(url, {
    optimistic: {
      updateUser: ({ input }) => ({
        __typename: "UpdateUserPayload",
        user: { __typename: "User", id: input.id, displayName: input.displayName, version: 2 },
        errors: [],
      }),
    },
  })
  await done(client.query(USER, { id }))
  const displayName = "x".repeat(201)
  const { updateUser } = await done(client.mutation(RENAME, { input: { id, displayName } }))
  assert.deepEqual(
    updateUser.errors.map(({ code, path, max }) => ({ code, path, max })),
    [{ code: "TOO_LONG", path: ["input", "displayName"], max: 200 }],
  )
  assert.equal(client.readQuery(USER, { id }).data.user.displayName, null)
}

export async function updatesAddTheCreatedEdgeAndInvalidateTheDeletedUser(url) {
  const [{ id }] = await createUsers(url, "ada")
  const client = newClient(url, {
    updates: {
      Mutation: {
        createUser({ createUser }, _, cache) {
          cache.updateQuery({ query: LIST }, (data) => {
            data.users.edges.unshift(createUser.userEdge)
            return data
          })
        },
        deleteUser({ deleteUser }, _, cache) {
          cache.updateQuery({ query: LIST }, (data) => {
            const { edges } = data.users
            data.users.edges = edges.filter(({ node }) => node.id !== deleteUser.deletedUserId)
            return data
          })
          cache.invalidate({ __typename: "User", id: deleteUser.deletedUserId })
        },
      },
    },
  })
  await done(client.query(LIST, {}))
  const input = { username: "mia", email: "mia@example.com" }
  await done(client.mutation(CREATE, { input }))
  const listed = (await done(client.query(LIST, {}, cached)))
  assert.deepEqual(names(listed), ["mia", "ada"])
  assert.deepEqual(await done(client.query(LIST, {}, { requestPolicy: "network-only" })), listed)
  await done(client.mutation(DELETE, { input: { id } }))
  assert.deepEqual(names(await done(client.query(LIST, {}, cached))), ["mia"])
}

export async function subscriptionUpdatesCachedUsers(url) {
  const [{ id }] = await createUsers(url, "ada")
  const { userEvents } = await send(url, "{ userEvents(last: 1) { nodes { cursor } } }")
  const client = newClient(url)
  await done(client.query(USER, { id }))
  const after = userEvents.nodes[0].cursor
  const source = client.subscription(EVENTS, { after })
  const events = follow({ subscribe: (observer) => source.subscribe(observer.next) })
  const first = next(events)
  const RENAMED = `mutation ($id: ID!) {
    updateUser(input: {id: $id, displayName: "Ada King"}) { changed }
  }`
  await send(url, RENAMED, { id })
  assert.equal((await first).data.userEvents.type, "UPDATED")
  assert.equal(client.readQuery(USER, { id }).data.user.displayName, "Ada King")
  await events.return()
}

export async function topLevelErrorsHaveTheirCode(url) {
  const { error } = await newClient(url).query(USER, { id: "x" }).toPromise()
  assert.equal(error.graphQLErrors[0].extensions.code, "INVALID_ID")
}
