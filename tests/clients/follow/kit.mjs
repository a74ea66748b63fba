// The kit alone: reloads, tabs, expired cursors, repeated events, and callers who may not follow.
import assert from "node:assert/strict"
import "fake-indexeddb/auto"
import { createClient } from "graphql-ws"
import { createUsers, send } from "../directory.mjs"
import { LiveList } from "../live-list/live-list.js"
import { forget, open, read, write } from "../live-list/store.js"

const RENAME = `mutation ($id: ID!, $name: String) { updateUser(input: {id: $id, displayName: $name}) { changed } }`
const DELETE = "mutation ($id: ID!) { deleteUser(input: {id: $id}) { changed } }"

/** A list with the usernames that it shows; `until` waits for some. */
function newList(url, { token, ...options } = {}) {
  const starts = []
  const connectionParams = token ? { Authorization: `Bearer ${token}` } : {}
  const socket = createClient({ url: `${url.replace("http", "ws")}/graphql`, retryAttempts: 0, connectionParams })
  const tab = { shown: [], changes: 0, starts, wake: () => {} }
  const client = { subscribe(request, sink) {
    if (request.query.startsWith("subscription")) starts.push(request.variables.after)
    return (options.client ?? socket).subscribe(request, sink)
  } }
  tab.list = new LiveList({ name: "list", retryDelay: 2, ...options, client, onChange(edges) {
    tab.shown = edges.map(({ node }) => node.displayName ?? node.username)
    tab.changes += 1
    tab.wake()
  } })
  tab.until = (...names) => new Promise((resolve) => {
    tab.wake = () => { if (String(tab.shown) === String(names)) resolve() }
    tab.wake()
  })
  return tab
}

const saved = async () => {
  const db = await open("list")
  const found = await read(db)
  db.close()
  return found
}

export async function emptyListIsShownAndFollowedFromTheBeginning(url) {
  const tab = newList(url)
  await tab.list.start()
  while (!tab.changes) await new Promise(setImmediate)
  await createUsers(url, "ada")
  await tab.until("ada")
  await tab.list.close()
}

export async function reloadShowsTheSavedListAndContinues(url) {
  const [{ id }, mia] = await createUsers(url, "ada", "mia")
  const before = newList(url)
  await before.list.start()
  await before.until("mia", "ada")
  await before.list.close()
  await send(url, RENAME, { id, name: "Ada" })
  await send(url, DELETE, { id: mia.id })
  const after = newList(url)
  await after.list.start()
  assert.deepEqual(after.shown, ["mia", "ada"]) // before any request
  await after.until("Ada")
  assert.deepEqual(after.starts, before.starts) // no page was read again, and nothing was missed
  await after.list.close()
  assert.deepEqual([...(await saved()).edges.keys()], [id])
}

export async function expiredCursorReadsTheListAgain(url) {
  await createUsers(url, "ada", "mia")
  const before = newList(url)
  await before.list.start()
  await before.until("mia", "ada")
  await before.list.close()
  const { edges } = await saved()
  const [[, edge]] = edges
  const db = await open("list")
  const lost = { ...edge, node: { ...edge.node, id: "lost", username: "lost" } } // as after a restore
  await write(db, new Map([["lost", lost]]), Buffer.from('["events",9,"0000000000000000"]').toString("base64url"))
  db.close()
  const after = newList(url)
  await after.list.start()
  assert.equal(after.shown.length, 3)
  await after.until("mia", "ada")
  await createUsers(url, "eve")
  await after.until("eve", "mia", "ada")
  await after.list.close()
  assert.equal((await saved()).edges.has("lost"), false)
}

export async function oldListIsReadAgainInsteadOfReplayed(url) {
  await createUsers(url, "ada")
  const before = newList(url)
  await before.list.start()
  await before.until("ada")
  await before.list.close()
  await createUsers(url, "mia")
  const after = newList(url, { maxAge: -1 })
  await after.list.start()
  await after.until("mia", "ada")
  while (!after.starts.length) await new Promise(setImmediate)
  assert.notDeepEqual(after.starts, before.starts)
  await after.list.close()
}

export async function repeatedEventsChangeNothing(url) {
  const [{ id }] = await createUsers(url, "ada")
  const socket = createClient({ url: `${url.replace("http", "ws")}/graphql`, retryAttempts: 0 })
  const client = { subscribe: (request, sink) => socket.subscribe(request, {
    ...sink, next(result) { sink.next(result); sink.next(structuredClone(result)) },
  }) }
  const tab = newList(url, { client })
  await tab.list.start()
  await tab.until("ada")
  await send(url, RENAME, { id, name: "Ada" })
  await tab.until("Ada")
  await send(url, DELETE, { id })
  await tab.until()
  await createUsers(url, "mia")
  await tab.until("mia")
  assert.equal(tab.changes, 4)
  await tab.list.close()
}

export async function oneTabFollowsAndAnotherTakesOver(url) {
  const [{ id }] = await createUsers(url, "ada")
  const tabs = [newList(url), newList(url), newList(url)]
  for (const tab of tabs) await tab.list.start()
  for (const tab of tabs) await tab.until("ada")
  await send(url, RENAME, { id, name: "Ada" })
  for (const tab of tabs) await tab.until("Ada")
  assert.deepEqual(tabs.map(({ starts }) => starts.length), [1, 0, 0])
  await tabs[0].list.close()
  await createUsers(url, "mia")
  for (const tab of tabs.slice(1)) await tab.until("mia", "Ada")
  assert.deepEqual(tabs.map(({ starts }) => starts.length), [1, 1, 0])
  await tabs[1].list.close()
  await send(url, DELETE, { id })
  await tabs[2].until("mia")
  assert.deepEqual(tabs[0].shown, ["Ada"]) // a closed list does not change
  await tabs[2].list.close()
}

export async function forgettingClosesEveryTab(url) {
  await createUsers(url, "ada")
  const tabs = [newList(url), newList(url)]
  for (const tab of tabs) await tab.list.start()
  for (const tab of tabs) await tab.until("ada")
  await forget("list")
  assert.equal((await saved()).edges.size, 0)
  await createUsers(url, "mia")
  for (const tab of tabs) assert.deepEqual(tab.shown, ["ada"])
}

/** For a server in production mode: the token of a user who may read users and no histories. */
export async function callerWhoMayNotFollowGetsTheListAndItsEnd(url) {
  await createUsers(url, "ada")
  let end
  const ended = new Promise((resolve) => { end = resolve })
  const tab = newList(url, { token: process.env.USER_TOKEN, onEnd: end })
  await tab.list.start()
  assert.equal((await ended)[0].extensions.code, "FORBIDDEN")
  await tab.until("ada")
  assert.deepEqual(tab.starts, [])
  const stranger = newList(url, { token: "wrong", name: "stranger", onEnd: end })
  const refused = new Promise((resolve) => { end = resolve })
  stranger.list.onEnd = end
  await stranger.list.start()
  assert.ok([4401, 4403].includes((await refused).code))
  assert.deepEqual(stranger.shown, [])
}
