// Plain requests that prepare and check a directory, without a client library.
import assert from "node:assert/strict"

/** Headers with the token of the environment, if there is one. */
export function authorization(token = process.env.TOKEN) {
  return token ? { authorization: `Bearer ${token}` } : {}
}

export async function send(url, query, variables = {}, token = process.env.TOKEN) {
  const response = await fetch(`${url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json", ...authorization(token) },
    body: JSON.stringify({ query, variables }),
  })
  const { data, errors } = await response.json()
  assert.equal(errors, undefined, JSON.stringify(errors))
  return data
}

const CREATE = `mutation ($input: BulkUsersInput!) {
  bulkUsers(input: $input) { results { user { id username version } } failed }
}`

/** Creates users in this order: the last is the first of the default list. */
export async function createUsers(url, ...usernames) {
  const operations = usernames.map((username) => ({
    create: { username, email: `${username}@example.com` },
  }))
  const { bulkUsers } = await send(url, CREATE, { input: { operations } })
  assert.equal(bulkUsers.failed, 0)
  return bulkUsers.results.map((result) => result.user)
}

/** Selects the deprecated `Actor.id`, by which caches must not merge. A plain text: documents of the tests select nothing deprecated. */
export const AUTHORS = "{ userEvents { nodes { id actor { type id label } } } }"

/** Lets a service and a user write whose ids are equal. For a server in production mode. */
export async function writeByServiceAndUser(url) {
  const CREATE = `mutation ($input: CreateUserInput!) { createUser(input: $input) { user { id databaseId } } }`
  const input = { username: "ada", email: "ada@example.com", externalId: "ada" }
  const { createUser } = await send(url, CREATE, { input })
  const { id, databaseId } = createUser.user
  assert.equal(databaseId, "1") // as the subject of the service
  const UPDATE = `mutation ($id: ID!) { updateUser(input: {id: $id, displayName: "Ada"}) { changed } }`
  const { updateUser } = await send(url, UPDATE, { id }, process.env.USER_TOKEN)
  assert.equal(updateUser.changed, true)
  return id
}

export async function usernames(url) {
  const { users } = await send(url, "{ users(first: 100) { nodes { username } } }")
  return users.nodes.map((user) => user.username)
}

/** Returns the next value of an async iterator, or fails when it has ended. */
export async function next(iterator) {
  const { value, done } = await iterator.next()
  assert.equal(done, false, "the stream ended")
  return value
}

/** Turns an observable into an async iterator that drops nothing. */
export async function* follow(observable) {
  const received = []
  let wake = () => {}
  const subscription = observable.subscribe({
    next: (value) => { received.push({ value }); wake() },
    error: (error) => { received.push({ error }); wake() },
    complete: () => { received.push({ done: true }); wake() },
  })
  try {
    while (true) {
      while (received.length === 0) await new Promise((resolve) => { wake = resolve })
      const { value, error, done } = received.shift()
      if (error) throw error
      if (done) return
      yield value
    }
  } finally {
    subscription.unsubscribe()
  }
}
