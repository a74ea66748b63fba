// RetryLink behind a network that loses answers: the server has committed the write, and the client sends it again.
import { ApolloLink, HttpLink } from "@apollo/client"
import { RetryLink } from "@apollo/client/link/retry"
import { parse } from "graphql"
import assert from "node:assert/strict"
import { createUsers, send } from "../directory.mjs"
import { startProxy } from "../proxy.mjs"
import { newClient } from "./client.mjs"

const ERRORS = `errors { code path ... on VersionConflictError {
  expectedVersion actualVersion changes { fieldName after } current { id displayName version }
} }`
const CHANGE = `user { id username displayName status version } changed replayed ${ERRORS}`
const MUTATIONS = Object.fromEntries(Object.entries({
  createUser: ["CreateUserInput", `user { id username } replayed ${ERRORS}`],
  updateUser: ["UpdateUserInput", CHANGE],
  upsertUser: ["UpsertUserInput", `created ${CHANGE}`],
  deactivateUser: ["UserTransitionInput", CHANGE],
  reactivateUser: ["UserTransitionInput", CHANGE],
  deleteUser: ["DeleteUserInput", `deletedUserId ${CHANGE}`],
  restoreUser: ["UserTransitionInput", CHANGE],
  eraseUser: ["EraseUserInput", `erasedUserId replayed ${ERRORS}`],
  bulkUsers: ["BulkUsersInput",
    `results { user { id } deletedUserId created changed ${ERRORS} } succeeded failed replayed ${ERRORS}`],
}).map(([verb, [kind, fields]]) =>
  [verb, parse(`mutation Write($input: ${kind}!) { ${verb}(input: $input) { ${fields} } }`)]))

/** Returns a function that sends writes. The answer to the first attempt of each is lost, unless `hooks` says else. */
async function lossyWriter(url, hooks = { onAnswer: async () => "lost" }) {
  let isFirst = true
  const onlyFirst = (hook) => async () => {
    const wasFirst = isFirst
    isFirst = false
    return wasFirst ? hook() : undefined
  }
  const ofFirst = Object.entries(hooks).map(([name, hook]) => [name, onlyFirst(hook)])
  const proxy = await startProxy(url, Object.fromEntries(ofFirst))
  const link = ApolloLink.from([
    new RetryLink({ delay: { initial: 1, jitter: false }, attempts: { max: 3 } }),
    new HttpLink({ uri: `${proxy.url}/graphql` }),
  ])
  const client = newClient(url, link)
  return async (verb, input) => {
    isFirst = true
    const before = proxy.requests.length
    const { data } = await client.mutate({ mutation: MUTATIONS[verb], variables: { input } })
    const attempts = proxy.requests.slice(before)
    assert.equal(attempts.length, 2)
    assert.deepEqual(attempts[0], attempts[1])
    return data[verb]
  }
}

const withKey = (input) => ({ ...input, idempotencyKey: crypto.randomUUID() })

/** Each change is a version of a user. Lists of events end at the watermark, which can be later. */
async function countChanges(url) {
  const query = "{ users(first: 100, filter: { status: [ACTIVE, DEACTIVATED, DELETED] }) { nodes { version } } }"
  const { users } = await send(url, query)
  return users.nodes.reduce((sum, { version }) => sum + version, 0)
}

/** Each write with the number of its changes. It names the version that the earlier ones made. */
function writesOf(id) {
  const create = { username: "zoe", email: "zoe@example.com" }
  return [
    ["createUser", { username: "eve", email: "eve@example.com" }, 1],
    ["updateUser", { id, displayName: "Ada King", expectedVersion: 1 }, 1],
    ["upsertUser", { by: { username: "ada" }, displayName: "Countess", expectedVersion: 2 }, 1],
    ["upsertUser", { by: { externalId: "hr-9" }, username: "hal", email: "hal@example.com" }, 1],
    ["deactivateUser", { id, reason: "Leave", expectedVersion: 3 }, 1],
    ["reactivateUser", { id, expectedVersion: 4 }, 1],
    ["bulkUsers", { operations: [{ create }, { update: { id, displayName: "A", expectedVersion: 5 } }] }, 2],
    ["deleteUser", { id, expectedVersion: 6 }, 1],
    ["restoreUser", { id, expectedVersion: 7 }, 1],
    ["bulkUsers", { operations: [{ delete: { id, expectedVersion: 8 } }] }, 1],
    ["eraseUser", { id, confirmUsername: "ada", reason: "Asked", expectedVersion: 9 }, 1],
  ]
}

export async function eachWriteWithAKeyIsDoneOnceAndReplayed(url) {
  const [{ id }] = await createUsers(url, "ada")
  const write = await lossyWriter(url)
  const done = new Set()
  for (const [verb, input, changes] of writesOf(id)) {
    const before = await countChanges(url)
    const payload = await write(verb, withKey(input))
    assert.equal(payload.replayed, true, verb)
    assert.deepEqual(payload.errors, [], verb)
    assert.equal((await countChanges(url)) - before, changes, verb)
    done.add(verb)
    for (const each of payload.results ?? [payload]) {
      assert.deepEqual(each.errors, [], verb)
      if ("changed" in each) assert.equal(each.changed, true, verb)
      if (verb === "deleteUser") assert.equal(each.deletedUserId, id)
      if (verb === "eraseUser") assert.equal(each.erasedUserId, id)
    }
  }
  assert.deepEqual([...done].sort(), Object.keys(MUTATIONS).sort())
}

export async function lostAnswerWithoutAKeyLooksLikeAConflict(url) {
  const [{ id }] = await createUsers(url, "ada")
  const write = await lossyWriter(url)
  const { replayed, errors } = await write("updateUser", { id, displayName: "Ada", expectedVersion: 1 })
  assert.equal(replayed, false)
  assert.deepEqual(errors.map(({ code, actualVersion }) => [code, actualVersion]), [["VERSION_CONFLICT", 2]])
  assert.equal(await countChanges(url), 2)
}

const THEIRS = `mutation ($id: ID!) { updateUser(input: {id: $id, displayName: "Theirs"}) { changed } }`

export async function conflictWithAnotherWriterIsStillOne(url) {
  const [{ id }] = await createUsers(url, "ada")
  await send(url, THEIRS, { id })
  const write = await lossyWriter(url)
  for (const [verb, more] of [["updateUser", { displayName: "Mine" }], ["deleteUser", {}], ["deactivateUser", {}]]) {
    const payload = await write(verb, withKey({ id, expectedVersion: 1, ...more }))
    assert.deepEqual([payload.replayed, payload.changed, payload.user], [false, false, null])
    const [error, ...others] = payload.errors
    assert.deepEqual(others, [])
    assert.equal(error.code, "VERSION_CONFLICT")
    assert.deepEqual(error.changes.map(({ fieldName, after }) => [fieldName, after]), [["DISPLAY_NAME", "Theirs"]])
    assert.deepEqual([error.current.displayName, error.current.version], ["Theirs", 2])
  }
  assert.equal(await countChanges(url), 2)
}

export async function writeOfAnotherBetweenTheAttemptsStays(url) {
  const [{ id }] = await createUsers(url, "ada")
  const write = await lossyWriter(url, {
    onAnswer: async () => {
      await send(url, THEIRS, { id })
      return "lost"
    },
  })
  const payload = await write("updateUser", withKey({ id, displayName: "Mine", expectedVersion: 1 }))
  // The answer is that of the first attempt: the write was done, and nothing was written again.
  assert.deepEqual([payload.replayed, payload.errors], [true, []])
  assert.deepEqual([payload.user.displayName, payload.user.version], ["Mine", 2])
  const { user } = await send(url, "query ($id: ID!) { user(id: $id) { displayName version } }", { id })
  assert.deepEqual(user, { displayName: "Theirs", version: 3 })
}

export async function requestThatDidNotArriveIsDoneByTheSecondAttempt(url) {
  const [{ id }] = await createUsers(url, "ada")
  const write = await lossyWriter(url, { onRequest: async () => "lost" })
  const payload = await write("updateUser", withKey({ id, displayName: "Ada", expectedVersion: 1 }))
  assert.deepEqual([payload.replayed, payload.changed, payload.errors], [false, true, []])
  assert.equal(await countChanges(url), 2)
}

export async function attemptsAtTheSameTimeAreDoneOnce(url) {
  const users = await createUsers(url, ..."abcdefgh".split("").map((letter) => letter.repeat(3)))
  const write = await lossyWriter(url, { onRequest: async () => "cut" })
  for (const { id } of users) {
    const payload = await write("deleteUser", withKey({ id, expectedVersion: 1 }))
    // Either attempt can be the first for the server.
    assert.deepEqual([payload.deletedUserId, payload.changed, payload.errors], [id, true, []])
    assert.deepEqual([payload.user.status, payload.user.version], ["DELETED", 2])
  }
  assert.equal(await countChanges(url), 2 * users.length)
}

export async function keyOfALostAnswerIsNotForAnotherInput(url) {
  const [{ id }] = await createUsers(url, "ada")
  const write = await lossyWriter(url)
  const input = withKey({ id, displayName: "Ada" })
  assert.equal((await write("updateUser", input)).replayed, true)
  const { replayed, errors } = await write("updateUser", { ...input, displayName: "Countess" })
  assert.equal(replayed, false)
  assert.deepEqual(errors.map(({ code, path }) => [code, path]),
    [["IDEMPOTENCY_KEY_REUSED", ["input", "idempotencyKey"]]])
  assert.equal(await countChanges(url), 2)
}
