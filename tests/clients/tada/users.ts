// The types of gql.tada come from the schema alone, without a build step for documents.
import { initGraphQLTada, type ResultOf, type VariablesOf } from "gql.tada"
import { print } from "graphql"
import assert from "node:assert/strict"
import type { introspection } from "./graphql-env.d.ts"

const graphql = initGraphQLTada<{
  introspection: introspection
  disableMasking: true
  scalars: { BigInt: string; DateTime: string; ID: string; JSON: unknown }
}>()

const User = graphql(`
  fragment User on User {
    id
    username
    displayName
    databaseId
    viewerCan
  }
`)
const Page = graphql(
  `
    query Page($first: Int, $filter: UserFilter) {
      users(first: $first, filter: $filter) {
        edges {
          cursor
          node {
            ...User
          }
        }
        statusCounts {
          status
          count
        }
      }
    }
  `,
  [User],
)
const Update = graphql(`
  mutation Update($input: UpdateUserInput!) {
    updateUser(input: $input) {
      user {
        displayName
        version
      }
      errors {
        __typename
        code
        message
        ... on VersionConflictError {
          changedFields
        }
      }
    }
  }
`)
const Create = graphql(`
  mutation Create($input: CreateUserInput!) {
    createUser(input: $input) {
      user {
        id
      }
    }
  }
`)

// @ts-expect-error - an input needs all its required fields
const incomplete: VariablesOf<typeof Create> = { input: { username: "ada" } }
assert.equal("email" in incomplete.input, false)

// @ts-expect-error - not a status
const unknown: VariablesOf<typeof Page> = { filter: { status: ["SLEEPING"] } }
assert.ok(unknown)

type Document = typeof Page | typeof Update | typeof Create

async function execute<D extends Document>(
  url: string, document: D, variables: VariablesOf<D>,
): Promise<ResultOf<D>> {
  const response = await fetch(`${url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query: print(document), variables }),
  })
  const { data, errors } = (await response.json()) as { data: ResultOf<D>; errors?: unknown }
  assert.equal(errors, undefined)
  return data
}

export async function answersHaveTheInferredTypes(url: string) {
  // Optional fields with a default may be absent, and so may those that can be null.
  const input = { username: "ada", email: "ada@example.com" }
  const { createUser } = await execute(url, Create, { input })
  const id: string | undefined = createUser?.user?.id
  assert.ok(id)
  const { users } = await execute(url, Page, { first: 1, filter: { status: ["ACTIVE"] } })
  const [edge] = users?.edges ?? []
  const name: string | undefined = edge?.node.displayName ?? edge?.node.username
  assert.equal(name, "ada")
  const number: string | undefined = edge?.node.databaseId
  assert.match(number ?? "", /^\d+$/)
  assert.ok(edge?.node.viewerCan.includes("UPDATE"))
  const { updateUser } = await execute(url, Update, {
    input: { id, displayName: null, expectedVersion: 7 },
  })
  const [error] = updateUser?.errors ?? []
  assert.equal(error?.__typename, "VersionConflictError")
  if (error?.__typename === "VersionConflictError") {
    const fields: string[] = error.changedFields
    assert.deepEqual(fields, [])
  }
}
