import { ClientError, GraphQLClient, batchRequests, gql, request } from "graphql-request"
import assert from "node:assert/strict"
import { createUsers } from "../directory.mjs"

const NAMES = gql`query Names($first: Int) {
  users(first: $first, orderBy: [{ field: USERNAME }]) { nodes { username } }
}`

export async function requestsAreAnswered(url) {
  await createUsers(url, "ada", "mia")
  const { users } = await request(`${url}/graphql`, NAMES, { first: 1 })
  assert.deepEqual(users.nodes, [{ username: "ada" }])
}

export async function queriesCanBeSentByGet(url) {
  await createUsers(url, "ada")
  const client = new GraphQLClient(`${url}/graphql`, { method: "GET", jsonSerializer: JSON })
  const { users } = await client.request(NAMES, { first: 1 })
  assert.deepEqual(users.nodes, [{ username: "ada" }])
}

export async function errorsHaveTheirCodeAndPartialData(url) {
  await createUsers(url, "ada")
  const query = gql`{ user(id: "x") { id } users { nodes { username } } }`
  await assert.rejects(request(`${url}/graphql`, query), (error) => {
    assert.ok(error instanceof ClientError)
    assert.equal(error.response.errors[0].extensions.code, "INVALID_ID")
    assert.deepEqual(error.response.data, { user: null, users: { nodes: [{ username: "ada" }] } })
    return true
  })
  const client = new GraphQLClient(`${url}/graphql`, { errorPolicy: "all" })
  const { data, errors } = await client.rawRequest(query)
  assert.equal(data.users.nodes.length, errors.length)
}

export async function invalidDocumentsAreRejectedWithTheirCode(url) {
  await assert.rejects(request(`${url}/graphql`, "{ nothing }"), (error) => {
    assert.equal(error.response.errors[0].extensions.code, "GRAPHQL_VALIDATION_FAILED")
    return true
  })
}

/** For a server that allows batches. */
export async function batchesAreAnsweredInTheirOrder(url) {
  await createUsers(url, "ada", "mia")
  const answers = await batchRequests(`${url}/graphql`, [
    { document: NAMES, variables: { first: 1 } },
    { document: NAMES, variables: { first: 2 } },
  ])
  assert.deepEqual(answers.map(({ data }) => data.users.nodes.length), [1, 2])
}
