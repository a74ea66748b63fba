import { createClient } from "graphql-ws"
import assert from "node:assert/strict"
import { createUsers, next, send } from "../directory.mjs"

const EVENTS = "subscription ($after: String) { userEvents(after: $after) { cursor user { username } } }"
const address = (url) => `${url.replace("http", "ws")}/graphql`

const username = ({ data }) => data.userEvents.user.username

export async function operationsShareASocket(url) {
  await createUsers(url, "ada")
  const { userEvents } = await send(url, "{ userEvents(last: 1) { nodes { cursor } } }")
  const variables = { after: userEvents.nodes[0].cursor }
  let opened = 0
  const client = createClient({
    url: address(url), lazy: false, retryAttempts: 0, on: { opened: () => { opened += 1 } },
  })
  const [first, second] = [1, 2].map(() => client.iterate({ query: EVENTS, variables }))
  const received = [next(first), next(second)]
  const counted = await next(client.iterate({ query: "{ users { totalCount } }" }))
  assert.deepEqual(counted, { data: { users: { totalCount: 1 } } })
  await createUsers(url, "mia")
  assert.deepEqual((await Promise.all(received)).map(username), ["mia", "mia"])
  await first.return()
  await createUsers(url, "eve")
  assert.equal(username(await next(second)), "eve")
  assert.equal(opened, 1)
  await client.dispose()
}

export async function closedSocketIsReopenedAndContinuesAfterTheLastEvent(url) {
  await createUsers(url, "ada")
  const { userEvents } = await send(url, "{ userEvents(last: 1) { nodes { cursor } } }")
  const request = { query: EVENTS, variables: { after: userEvents.nodes[0].cursor } }
  const sockets = []
  const client = createClient({
    url: address(url), retryAttempts: 1, retryWait: async () => {},
    on: { opened: (socket) => sockets.push(socket) },
  })
  const events = client.iterate(request)
  await createUsers(url, "mia")
  const first = await next(events)
  request.variables.after = first.data.userEvents.cursor
  const second = next(events)
  sockets[0].close(4205, "a lost connection")
  await createUsers(url, "eve")
  assert.equal(username(await second), "eve")
  assert.equal(sockets.length, 2)
  await client.dispose()
}

/** For a server in production mode, with a token in the environment. */
export async function tokenOfConnectionParamsAuthenticates(url) {
  const { TOKEN } = process.env
  const query = "{ users { totalCount } }"
  const client = createClient({
    url: address(url), connectionParams: async () => ({ Authorization: `Bearer ${TOKEN}` }),
  })
  assert.deepEqual(await next(client.iterate({ query })), { data: { users: { totalCount: 0 } } })
  await client.dispose()
  for (const connectionParams of [{}, { Authorization: "Bearer wrong" }]) {
    const stranger = createClient({ url: address(url), connectionParams })
    // 4401 and 4403 are fatal: the client does not try again.
    await assert.rejects(next(stranger.iterate({ query })), ({ code }) => [4401, 4403].includes(code))
  }
}
