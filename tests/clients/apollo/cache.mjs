import { gql } from "@apollo/client"
import assert from "node:assert/strict"
import { AUTHORS, createUsers, send, writeByServiceAndUser } from "../directory.mjs"
import { newClient } from "./client.mjs"

const USER = gql`query User($id: ID!) { user(id: $id) { id username displayName version } }`
const NODE = gql`query Node($id: ID!) { node(id: $id) { id ... on User { username displayName } } }`
const PAGE = gql`query Page($first: Int, $after: String, $last: Int, $before: String) {
  users(first: $first, after: $after, last: $last, before: $before,
        orderBy: [{ field: USERNAME }]) {
    edges { cursor node { id username } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}`
const LIST = gql`query List { users(first: 10) { edges { cursor node { id username status } } } }`
const RENAME = gql`mutation Rename($input: UpdateUserInput!) {
  updateUser(input: $input) {
    user { id displayName version }
    errors {
      code message path
      ... on FieldError { max }
      ... on VersionConflictError { changedFields current { id displayName version } }
    }
  }
}`
const CREATE = gql`mutation Create($input: CreateUserInput!) {
  createUser(input: $input) {
    userEdge { cursor node { id username status } }
    errors { code path }
  }
}`
const DELETE = gql`mutation Delete($input: DeleteUserInput!) {
  deleteUser(input: $input) { deletedUserId errors { code } }
}`

function read(client, query, variables) {
  return client.readQuery({ query, variables })
}

const names = ({ users }) => users.edges.map((edge) => edge.node.username)

export async function usersAreNormalisedById(url) {
  const [{ id }] = await createUsers(url, "ada")
  const client = newClient(url)
  await client.query({ query: USER, variables: { id } })
  await client.query({ query: NODE, variables: { id } })
  assert.equal(Object.keys(client.extract()).filter((key) => key.startsWith("User:")).length, 1)
  const input = { id, displayName: "Ada King" }
  await client.mutate({ mutation: RENAME, variables: { input } })
  assert.equal(read(client, USER, { id }).user.displayName, "Ada King")
  assert.equal(read(client, NODE, { id }).node.displayName, "Ada King")
  assert.equal(read(client, USER, { id }).user.version, 2)
}

export async function fragmentsOnInterfacesMatchByPossibleTypes(url) {
  const [{ id }] = await createUsers(url, "ada")
  const client = newClient(url)
  const query = gql`query Interface($id: ID!) { user(id: $id) { username ... on Node { id } } }`
  await client.query({ query, variables: { id } })
  assert.deepEqual(read(client, query, { id }).user, { __typename: "User", username: "ada", id })
}

export async function pagesAreAppendedAndPrepended(url) {
  await createUsers(url, ..."abcdefg".split("").map((letter) => letter.repeat(3)))
  const client = newClient(url)
  const forward = client.watchQuery({ query: PAGE, variables: { first: 3 } })
  await forward.result?.()
  let { data } = await client.query({ query: PAGE, variables: { first: 3 } })
  assert.deepEqual(names(data), ["aaa", "bbb", "ccc"])
  while (data.users.pageInfo.hasNextPage) {
    const after = data.users.pageInfo.endCursor
    await forward.fetchMore({ variables: { first: 3, after } })
    data = read(client, PAGE, { first: 3 })
  }
  assert.deepEqual(names(data), ["aaa", "bbb", "ccc", "ddd", "eee", "fff", "ggg"])
  assert.equal(data.users.pageInfo.hasPreviousPage, false)

  const fresh = newClient(url)
  const backward = fresh.watchQuery({ query: PAGE, variables: { last: 3 } })
  let end = (await fresh.query({ query: PAGE, variables: { last: 3 } })).data
  assert.deepEqual(names(end), ["eee", "fff", "ggg"])
  while (end.users.pageInfo.hasPreviousPage) {
    const variables = { first: undefined, last: 3, before: end.users.pageInfo.startCursor }
    await backward.fetchMore({ variables })
    end = read(fresh, PAGE, { last: 3 })
  }
  assert.deepEqual(names(end), ["aaa", "bbb", "ccc", "ddd", "eee", "fff", "ggg"])
  assert.equal(end.users.pageInfo.hasNextPage, false)
}

export async function emptyListIsAPageWithoutCursors(url) {
  const client = newClient(url)
  const { data } = await client.query({ query: PAGE, variables: { first: 3 } })
  assert.deepEqual(names(data), [])
  assert.equal(data.users.pageInfo.hasNextPage, false)
  // relayStylePagination turns the null cursors into "", which the arguments accept.
  const { endCursor, startCursor } = data.users.pageInfo
  assert.deepEqual([startCursor, endCursor], ["", ""])
  await createUsers(url, "ada")
  const again = await client.query({
    query: PAGE, variables: { first: 3, after: endCursor }, fetchPolicy: "network-only",
  })
  assert.deepEqual(names(again.data), ["ada"])
}

export async function optimisticUpdateIsReplacedByTheAnswer(url) {
  const [{ id }] = await createUsers(url, "ada")
  const client = newClient(url)
  await client.query({ query: USER, variables: { id } })
  const seen = []
  client.watchQuery({ query: USER, variables: { id } }).subscribe(({ data }) => {
    if (data) seen.push([data.user.displayName, data.user.version])
  })
  await client.mutate({
    mutation: RENAME,
    variables: { input: { id, displayName: " Ada King ", expectedVersion: 1 } },
    optimisticResponse: {
      updateUser: {
        __typename: "UpdateUserPayload",
        user: { __typename: "User", id, displayName: " Ada King ", version: 2 },
        errors: [],
      },
    },
  })
  assert.deepEqual(seen.at(0), [null, 1])
  assert.deepEqual(seen.at(1), [" Ada King ", 2])
  assert.deepEqual(seen.at(-1), ["Ada King", 2]) // the server trims the name
}

export async function optimisticUpdateIsRolledBackOnPayloadErrors(url) {
  const [{ id }] = await createUsers(url, "ada")
  const client = newClient(url)
  await client.query({ query: USER, variables: { id } })
  const displayName = "x".repeat(201)
  const { data } = await client.mutate({
    mutation: RENAME,
    variables: { input: { id, displayName } },
    optimisticResponse: {
      updateUser: {
        __typename: "UpdateUserPayload",
        user: { __typename: "User", id, displayName, version: 2 },
        errors: [],
      },
    },
  })
  assert.deepEqual(data.updateUser.errors.map(({ code, path, max }) => ({ code, path, max })), [
    { code: "TOO_LONG", path: ["input", "displayName"], max: 200 },
  ])
  assert.equal(read(client, USER, { id }).user.displayName, null)
  assert.equal(read(client, USER, { id }).user.version, 1)
}

export async function conflictUpdatesTheCachedUser(url) {
  const [{ id }] = await createUsers(url, "ada")
  const client = newClient(url)
  await client.query({ query: USER, variables: { id } })
  const other = newClient(url)
  await other.mutate({ mutation: RENAME, variables: { input: { id, displayName: "Ada" } } })
  const { data } = await client.mutate({
    mutation: RENAME,
    variables: { input: { id, displayName: "Countess", expectedVersion: 1 } },
  })
  const [error] = data.updateUser.errors
  assert.equal(error.code, "VERSION_CONFLICT")
  assert.deepEqual(error.changedFields, ["displayName"])
  const { user } = read(client, USER, { id })
  assert.deepEqual([user.displayName, user.version], ["Ada", 2])
}

export async function createdUserEdgeIsAddedToTheList(url) {
  await createUsers(url, "ada")
  const client = newClient(url)
  await client.query({ query: LIST })
  const input = { username: "mia", email: "mia@example.com" }
  const { data } = await client.mutate({
    mutation: CREATE,
    variables: { input },
    update(cache, { data: { createUser } }) {
      cache.updateQuery({ query: LIST }, ({ users }) => ({
        users: { ...users, edges: [createUser.userEdge, ...users.edges] },
      }))
    },
  })
  const listed = read(client, LIST)
  assert.deepEqual(names(listed), ["mia", "ada"])
  // The edge is the one that the list has for this user: paging continues from its cursor.
  const { data: fetched } = await client.query({ query: LIST, fetchPolicy: "network-only" })
  assert.deepEqual(fetched, listed)
  assert.equal(data.createUser.userEdge.cursor, fetched.users.edges[0].cursor)
}

export async function deletedUserIsEvictedFromLists(url) {
  const [{ id }] = await createUsers(url, "ada", "mia")
  const client = newClient(url)
  await client.query({ query: LIST })
  await client.mutate({
    mutation: DELETE,
    variables: { input: { id } },
    update(cache, { data: { deleteUser } }) {
      cache.evict({ id: cache.identify({ __typename: "User", id: deleteUser.deletedUserId }) })
      cache.gc()
    },
  })
  assert.deepEqual(names(read(client, LIST)), ["mia"])
}

export async function eventsInBothOrdersAreSeparateLists(url) {
  const [{ id }] = await createUsers(url, "ada", "bob", "cyd")
  const client = newClient(url)
  const query = gql`query Events($first: Int, $after: String, $orderBy: UserEventOrder, $id: ID!) {
    userEvents(first: $first, after: $after, orderBy: $orderBy) {
      edges { cursor node { id userId } } pageInfo { hasNextPage endCursor }
    }
    user(id: $id) { id history(first: 1, orderBy: $orderBy) {
      edges { cursor node { id versionAfter } } pageInfo { hasNextPage endCursor }
    } }
  }`
  const input = { id, displayName: "Ada" }
  await client.mutate({ mutation: RENAME, variables: { input } })
  const found = {}
  for (const orderBy of ["OLDEST_FIRST", "NEWEST_FIRST"]) {
    const variables = { first: 3, orderBy, id }
    const pages = client.watchQuery({ query, variables })
    const { data } = await client.query({ query, variables })
    const after = data.userEvents.pageInfo.endCursor
    await pages.fetchMore({ variables: { ...variables, after } })
    const all = read(client, query, variables)
    assert.equal(all.userEvents.pageInfo.hasNextPage, false)
    found[orderBy] = all.userEvents.edges.map(({ node }) => node.id)
    assert.equal(all.user.history.edges[0].node.versionAfter, orderBy === "NEWEST_FIRST" ? 2 : 1)
  }
  assert.equal(found.OLDEST_FIRST.length, 4)
  assert.deepEqual(found.NEWEST_FIRST, found.OLDEST_FIRST.toReversed())
}

/** The cache has `followFrom` of the page that was fetched last. Only that of the first page misses nothing. */
export async function followFromOfTheFirstPageIsKeptFromItsAnswer(url) {
  const [, , { id }] = await createUsers(url, "ada", "bob", "cyd")
  const client = newClient(url)
  const query = gql`query Followed($after: String) { users(first: 2, after: $after) {
    followFrom edges { cursor node { id username version } } pageInfo { hasNextPage endCursor }
  } }`
  const pages = client.watchQuery({ query })
  const { users } = (await client.query({ query })).data
  assert.deepEqual(names({ users }), ["cyd", "bob"])
  await send(url, `mutation ($id: ID!) { updateUser(input: {id: $id, displayName: "Cyd"}) { changed } }`, { id })
  const { data } = await pages.fetchMore({ variables: { after: users.pageInfo.endCursor } })
  const joined = read(client, query)
  assert.deepEqual(names(joined), ["cyd", "bob", "ada"])
  assert.equal(joined.users.followFrom, data.users.followFrom)
  const FOLLOWED = "query ($after: String) { userEvents(after: $after) { nodes { type userId } } }"
  const { userEvents } = await send(url, FOLLOWED, { after: users.followFrom })
  assert.deepEqual(userEvents.nodes, [{ type: "UPDATED", userId: id }])
}

export async function authorsWithTheSameIdAreNotMerged(url) {
  await writeByServiceAndUser(url)
  const client = newClient(url)
  const query = gql(AUTHORS)
  const { data } = await client.query({ query })
  const authors = data.userEvents.nodes.map(({ actor }) => [actor.type, actor.id])
  assert.deepEqual(authors, [["SERVICE", "1"], ["USER", "1"]])
  assert.deepEqual(read(client, query), data)
  assert.deepEqual(Object.keys(client.extract()).filter((key) => key.startsWith("Actor")), [])
}

export async function topLevelErrorsHaveTheirCode(url) {
  const client = newClient(url)
  const failed = await client.query({ query: USER, variables: { id: "x" }, errorPolicy: "all" })
  assert.equal(failed.error.errors[0].extensions.code, "INVALID_ID")
  assert.deepEqual(failed.data, { user: null })
  const unknownField = "{ nothing }"
  await assert.rejects(
    client.query({ query: gql(unknownField) }),
    (error) => error.errors[0].extensions.code === "GRAPHQL_VALIDATION_FAILED",
  )
}
