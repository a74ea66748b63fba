// Plain requests that prepare and check a directory, without a client library.
import assert from "node:assert/strict"

export async function send(url, query, variables = {}) {
  const response = await fetch(`${url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json" },
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
