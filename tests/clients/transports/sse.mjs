import { createClient } from "graphql-sse"
import assert from "node:assert/strict"
import { createUsers, next, send } from "../directory.mjs"

const EVENTS = "subscription ($after: String) { userEvents(after: $after) { cursor user { username } } }"
const NEWEST = "{ userEvents(last: 1) { nodes { cursor } } }"

const newest = async (url) => (await send(url, NEWEST)).userEvents.nodes[0].cursor

const username = ({ data }) => data.userEvents.user.username

export async function eventsAreReplayedAndThenLive(url) {
  await createUsers(url, "ada")
  const after = await newest(url)
  await createUsers(url, "mia")
  const client = createClient({ url: `${url}/graphql`, retryAttempts: 0 })
  const events = client.iterate({ query: EVENTS, variables: { after } })
  assert.equal(username(await next(events)), "mia")
  const live = next(events)
  await createUsers(url, "eve")
  assert.equal(username(await live), "eve")
  await events.return()
}

export async function cutStreamContinuesAfterTheLastEvent(url) {
  await createUsers(url, "ada")
  const after = await newest(url)
  const aborts = []
  const sent = []
  const client = createClient({
    url: `${url}/graphql`,
    retryAttempts: 1,
    retry: async () => {},
    fetchFn: (uri, options) => {
      const abort = new AbortController()
      aborts.push(abort)
      sent.push(JSON.parse(options.body).variables.after)
      return fetch(uri, { ...options, signal: AbortSignal.any([abort.signal, options.signal]) })
    },
  })
  // graphql-sse sends the same request again: the cursor of the last event has to be in it.
  const request = { query: EVENTS, variables: { after } }
  const events = client.iterate(request)
  await createUsers(url, "mia")
  const first = await next(events)
  request.variables.after = first.data.userEvents.cursor
  const second = next(events)
  aborts[0].abort()
  await createUsers(url, "eve")
  assert.equal(username(await second), "eve")
  assert.deepEqual(sent, [after, first.data.userEvents.cursor])
  await events.return()
}

export async function queriesAndErrorsEndTheStream(url) {
  const client = createClient({ url: `${url}/graphql`, retryAttempts: 0 })
  const query = client.iterate({ query: "{ users { totalCount } }" })
  assert.deepEqual(await next(query), { data: { users: { totalCount: 0 } } })
  assert.equal((await query.next()).done, true)
  const invalid = client.iterate({ query: EVENTS, variables: { after: "x" } })
  const { errors } = await next(invalid)
  assert.equal(errors[0].extensions.code, "INVALID_CURSOR")
  assert.equal((await invalid.next()).done, true)
}
