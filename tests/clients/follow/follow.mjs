// Each client follows users through a proxy that cuts its connections, while others write.
import assert from "node:assert/strict"
import "fake-indexeddb/auto"
import { setTimeout } from "node:timers/promises"
import { isDeepStrictEqual } from "node:util"
import { createClient as createSse } from "graphql-sse"
import { createClient as createWs } from "graphql-ws"
import { LiveList } from "../live-list/live-list.js"
import { createUsers, send } from "../directory.mjs"
import { randomBy, startProxy } from "./proxy.mjs"
import { startWriter } from "./writers.mjs"

const RECONNECTS = Number(process.env.FOLLOW_RECONNECTS ?? 20)
const SEED = Number(process.env.FOLLOW_SEED ?? 1)
const TABLE = `query ($after: String) { users(first: 100, after: $after) {
  edges { cursor node { id databaseId status version createdAt username displayName } }
  pageInfo { hasNextPage endCursor } } }`
const EVENTS = `query ($after: String) { userEvents(first: 100, after: $after) {
  nodes { cursor } pageInfo { hasNextPage endCursor } } }`

const webSocket = (url) => createWs({
  url: `${url.replace("http", "ws")}/graphql`, retryAttempts: 0, onNonLazyError() {},
})
const sse = (url) => createSse({ url: `${url}/graphql`, retryAttempts: 0 })

async function* pages(url, query, field, after) {
  for (let page; !page || page.pageInfo.hasNextPage; ) {
    ({ [field]: page } = await send(url, query, { after: page?.pageInfo.endCursor ?? after }))
    yield page
  }
}

async function table(url) {
  const edges = []
  for await (const page of pages(url, TABLE, "users")) edges.push(...page.edges)
  return edges
}

async function cursorsAfter(url, after) {
  const cursors = []
  for await (const page of pages(url, EVENTS, "userEvents", after)) cursors.push(...page.nodes.map(({ cursor }) => cursor))
  return cursors
}

/** Records the subscriptions of a client, and their events. */
function recorded(client) {
  const seen = { starts: [], cursors: [], listen: () => {} }
  const subscribe = (request, sink) => client.subscribe(request, {
    ...sink,
    next(result) {
      if (result.data?.userEvents) seen.cursors.push(result.data.userEvents.cursor)
      sink.next(result)
      seen.listen()
    },
  })
  return [seen, { subscribe(request, sink) {
    if (request.query.startsWith("subscription")) seen.starts.push(request.variables.after)
    seen.listen()
    return subscribe(request, sink)
  } }]
}

const until = (seen, isDone) => new Promise((resolve) => {
  seen.listen = () => { if (isDone()) resolve() }
  seen.listen()
})

const FIELDS = ["id", "databaseId", "status", "version", "createdAt", "username", "displayName"]

/** The nodes, without what caches add to them. */
const plain = (edges) => edges.map(({ node }) => Object.fromEntries(FIELDS.map((field) => [field, node[field]])))

/** `open(client, name)` starts a list, and returns functions that read and close it. */
export async function follow(name, url, open, transport = webSocket) {
  const random = randomBy(SEED)
  const servers = [url, process.env.FOLLOW_SECOND_URL ?? url]
  const users = await createUsers(url, ...Array.from({ length: 130 }, (_, n) => `user-${n}`))
  for (const user of users) user.status = "ACTIVE"
  const proxy = await startProxy(servers, random)
  const [seen, client] = recorded(transport(proxy.url))
  const writers = ["ada", "mia"].map((writer, n) =>
    startWriter(servers[n], random, writer, users.filter((_, index) => index % 2 === n)))
  let list = await open(client, name)
  await until(seen, () => seen.starts.length > 0)
  proxy.most = 2 ** 13 // the list has been read: cut more often
  let reloads = 0
  for (let reconnects = 10; reconnects < RECONNECTS; reconnects += 10) {
    await until(seen, () => seen.starts.length > reconnects)
    await list.close()
    list = await open(client, name) // a reload of the page
    reloads += 1
  }
  await until(seen, () => seen.starts.length > RECONNECTS)
  await Promise.all(writers.map((writer) => writer.stop()))
  proxy.isCutting = false
  const expected = await cursorsAfter(url, seen.starts[0])
  await until(seen, () => seen.cursors.includes(expected.at(-1)))
  const received = new Set(seen.cursors)
  const report = {
    client: name, reconnects: seen.starts.length - 1, cuts: proxy.cuts, reloads, events: seen.cursors.length,
    missing: expected.filter((cursor) => !received.has(cursor)).length,
    repeated: seen.cursors.length - received.size,
  }
  console.log(JSON.stringify(report))
  assert.deepEqual(seen.cursors, expected) // each event once, in the order of the feed
  const listed = plain(await table(url))
  const read = async () => plain(await list.read())
  for (let tries = 0; tries < 6_000 && !isDeepStrictEqual(await read(), listed); tries += 1) await setTimeout(10)
  assert.deepEqual(await read(), listed)
  await list.close()
  proxy.stop()
}

export const LIST = `query FollowListQuery { users(first: 100) {
  edges { cursor node { id databaseId status version createdAt username displayName } } } }`

/** Opens lists whose changes go to `onChange`, and are read by `read`, which returns edges. */
export const through = (onChange, read) => async (client, name) => {
  const list = await openKit(client, name, onChange)
  return { ...list, read }
}

function openKit(client, name, onChange = () => {}) {
  let shown = []
  const list = new LiveList({ client, name, retryDelay: 2, maxDelay: 50, onEnd: fail, onChange(edges, changes) {
    shown = edges
    onChange(edges, changes)
  } })
  return list.start().then(() => ({ read: () => shown, close: () => list.close() }))
}

export function fail(problem) {
  console.error("The list has ended.", problem)
  process.exit(1)
}

export async function kitOverWebSocket(url) {
  await follow("kit, graphql-ws", url, openKit)
}

export async function kitOverServerSentEvents(url) {
  await follow("kit, graphql-sse", url, openKit, sse)
}
