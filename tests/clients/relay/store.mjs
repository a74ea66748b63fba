import assert from "node:assert/strict"
import relay from "relay-runtime"
import { createUsers, follow, next, send, writeByServiceAndUser } from "../directory.mjs"
import { artifact, load, mutate, newEnvironment } from "./environment.mjs"

const names = (connection) => connection.edges.map(({ node }) => node?.username)

export async function createdEdgeIsPrepended(url) {
  await createUsers(url, "ada")
  const environment = newEnvironment(url)
  const list = await load(environment, "UsersListQuery")
  const connections = [list().users.__id]
  const input = { username: "mia", email: "mia@example.com" }
  await mutate(environment, "UsersCreateMutation", { input, connections })
  assert.deepEqual(names(list().users), ["mia", "ada"])
}

export async function rejectedCreationAddsNoEdge(url) {
  await createUsers(url, "ada")
  const environment = newEnvironment(url)
  const list = await load(environment, "UsersListQuery")
  const connections = [list().users.__id]
  const input = { username: "Ada", email: "other@example.com" }
  const { createUser } = await mutate(environment, "UsersCreateMutation", { input, connections })
  assert.deepEqual(createUser.errors, [{ code: "TAKEN", path: ["input", "username"] }])
  assert.deepEqual(names(list().users), ["ada"])
}

export async function deletedEdgeIsRemoved(url) {
  const [{ id }] = await createUsers(url, "ada", "mia")
  const environment = newEnvironment(url)
  const list = await load(environment, "UsersListQuery")
  const connections = [list().users.__id]
  await mutate(environment, "UsersDeleteEdgeMutation", { input: { id }, connections })
  assert.deepEqual(names(list().users), ["mia"])
}

export async function deletedRecordIsRemoved(url) {
  const [{ id }] = await createUsers(url, "ada", "mia")
  const environment = newEnvironment(url)
  const list = await load(environment, "UsersListQuery")
  await mutate(environment, "UsersDeleteRecordMutation", { input: { id } })
  assert.deepEqual(names(list().users), ["mia", undefined])
  assert.equal(environment.getStore().getSource().get(id), null)
}

export async function refetchableFragmentReadsTheNode(url) {
  const [{ id }] = await createUsers(url, "ada")
  const environment = newEnvironment(url)
  const node = await load(environment, "UsersNodeQuery", { id })
  const selector = relay.getSingularSelector(artifact("Users_user"), node().node.user)
  const user = () => environment.lookup(selector).data
  assert.deepEqual(user(), { displayName: null, version: 1, id })
  await send(url, `mutation ($id: ID!) {
    updateUser(input: {id: $id, displayName: "Ada King"}) { changed }
  }`, { id })
  assert.equal(artifact("Users_user").metadata.refetch.operation, artifact("UsersUserRefetchQuery"))
  await load(environment, "UsersUserRefetchQuery", { id })
  assert.deepEqual(user(), { displayName: "Ada King", version: 2, id })
}

export async function optimisticUpdateIsReplacedByTheAnswer(url) {
  const [{ id }] = await createUsers(url, "ada")
  const environment = newEnvironment(url)
  const list = await load(environment, "UsersListQuery")
  const shown = () => list().users.edges[0].node.displayName
  const renamed = mutate(
    environment,
    "UsersRenameMutation",
    { input: { id, displayName: " Ada King " } },
    { optimisticResponse: {
      updateUser: { user: { id, displayName: " Ada King ", version: 2 }, errors: [] },
    } },
  )
  assert.equal(shown(), " Ada King ")
  await renamed
  assert.equal(shown(), "Ada King") // the server trims the name
}

export async function conflictUpdatesTheStoredUser(url) {
  const [{ id }] = await createUsers(url, "ada")
  const environment = newEnvironment(url)
  const list = await load(environment, "UsersListQuery")
  await mutate(newEnvironment(url), "UsersRenameMutation", { input: { id, displayName: "Ada" } })
  const input = { id, displayName: "Countess", expectedVersion: 1 }
  const { updateUser } = await mutate(environment, "UsersRenameMutation", { input })
  assert.deepEqual(updateUser.errors[0].changedFields, ["displayName"])
  const { displayName, version } = list().users.edges[0].node
  assert.deepEqual([displayName, version], ["Ada", 2])
}

export async function errorsDoNotOverwriteTheUserThatTheyName(url) {
  const [{ id }] = await createUsers(url, "ada")
  const environment = newEnvironment(url)
  const list = await load(environment, "UsersListQuery")
  // Nothing is found if the user is hidden from the caller meanwhile: here the answer says so.
  const answer = { data: { updateUser: { user: null, errors: [{
    __typename: "NotFoundError", code: "NOT_FOUND", path: ["input", "id"], message: "", id,
  }] } } }
  const { name } = artifact("UsersRenameMutation").params
  const fetched = globalThis.fetch
  globalThis.fetch = async (uri, options) =>
    JSON.parse(options.body).operationName === name ? Response.json(answer) : fetched(uri, options)
  await mutate(environment, "UsersRenameMutation", { input: { id, displayName: "Ada" } })
  assert.deepEqual(names(list().users), ["ada"])
  assert.equal(environment.getStore().getSource().get(id).__typename, "User")
}

export async function subscriptionUpdatesStoredUsers(url) {
  const [{ id }] = await createUsers(url, "ada")
  const { userEvents } = await send(url, "{ userEvents(last: 1) { nodes { cursor } } }")
  const environment = newEnvironment(url)
  const list = await load(environment, "UsersListQuery")
  const events = follow({
    subscribe: ({ next, error, complete }) => {
      const { dispose } = relay.requestSubscription(environment, {
        subscription: artifact("UsersEventsSubscription"),
        variables: { after: userEvents.nodes[0].cursor },
        onNext: next,
        onError: error,
        onCompleted: complete,
      })
      return { unsubscribe: dispose }
    },
  })
  const first = next(events)
  await send(url, `mutation ($id: ID!) {
    updateUser(input: {id: $id, displayName: "Ada King"}) { changed }
  }`, { id })
  assert.equal((await first).userEvents.type, "UPDATED")
  assert.equal(list().users.edges[0].node.displayName, "Ada King")
  await events.return()
}

export async function caughtFieldErrorLeavesTheRestReadable(url) {
  await createUsers(url, "ada")
  const query = await load(newEnvironment(url), "UsersCatchQuery", { id: "x" })
  const { user, users } = query()
  assert.deepEqual(user, { ok: false, errors: [{ extensions: { code: "INVALID_ID" } }] })
  const [{ id }] = await createUsers(url, "mia")
  const found = await load(newEnvironment(url), "UsersCatchQuery", { id })
  assert.deepEqual(found().user, { ok: true, value: { username: "mia" } })
  assert.deepEqual(users.nodes.map(({ username }) => username), ["ada"])
}

export async function authorsWithTheSameIdAreNotMerged(url) {
  const id = await writeByServiceAndUser(url)
  const query = await load(newEnvironment(url), "UsersHistoryQuery", { id })
  const authors = query().user.history.nodes.map(({ actor }) => [actor.type, actor.id])
  assert.deepEqual(authors, [["SERVICE", "1"], ["USER", "1"]])
}

/** For a server with the file of relay-compiler's persistConfig. */
export async function persistedDocumentsAreSentByTheirId(url) {
  const { id, text } = artifact("UsersListQuery").params
  assert.deepEqual([typeof id, text], ["string", null])
  const list = await load(newEnvironment(url), "UsersListQuery")
  assert.deepEqual(names(list().users), [])
}
