// Writers that change random users of a directory until they are stopped.
import assert from "node:assert/strict"
import { send } from "../directory.mjs"

const VERBS = { ACTIVE: ["deactivateUser", "deleteUser"], DEACTIVATED: ["reactivateUser", "deleteUser"], DELETED: ["restoreUser"] }
const CHANGE = (verb, input) => `mutation ($input: ${input}!) { ${verb}(input: $input) {
  user { id username status } errors { code } } }`
const CREATE = CHANGE("createUser", "CreateUserInput")
const UPDATE = CHANGE("updateUser", "UpdateUserInput")
const ERASE = "mutation ($input: EraseUserInput!) { eraseUser(input: $input) { erasedUserId errors { code } } }"

export function startWriter(url, random, name, users = []) {
  let isStopped = false
  const writer = { writes: {}, async stop() { isStopped = true; await running } }
  const pick = (list) => list[Math.floor(random() * list.length)]

  async function write(count) {
    const drawn = random()
    const user = pick(users)
    const done = (verb) => { writer.writes[verb] = (writer.writes[verb] ?? 0) + 1 }
    if (!user || drawn < 0.2) {
      const username = `${name}-${count}`
      const { createUser } = await send(url, CREATE, {
        input: { username, email: `${username}@example.com`, isActive: random() < 0.8 },
      })
      users.push(createUser.user)
      return done("createUser")
    }
    if (user.status !== "DELETED" && drawn < 0.6) {
      const { updateUser } = await send(url, UPDATE, { input: { id: user.id, displayName: `${name} ${count}` } })
      assert.deepEqual(updateUser.errors, [])
      return done("updateUser")
    }
    if (user.status === "DELETED" && drawn < 0.7) {
      const input = { id: user.id, confirmUsername: user.username, reason: "As asked." }
      const { eraseUser } = await send(url, ERASE, { input })
      assert.deepEqual(eraseUser.errors, [])
      users.splice(users.indexOf(user), 1)
      return done("eraseUser")
    }
    const verb = pick(VERBS[user.status])
    const input = verb === "deleteUser" ? "DeleteUserInput" : "UserTransitionInput"
    const answer = await send(url, CHANGE(verb, input), { input: { id: user.id } })
    assert.deepEqual(answer[verb].errors, [])
    Object.assign(user, answer[verb].user)
    done(verb)
  }

  const running = (async () => {
    for (let count = 0; !isStopped; count += 1) await write(count)
  })()
  return writer
}
