import assert from "node:assert/strict"
import { graphql } from "./gql/gql.ts"
import type { TypedDocumentNode } from "@graphql-typed-document-node/core"

const Page = graphql(`
  query Page($first: Int) {
    users(first: $first, orderBy: [{ field: USERNAME }]) {
      nodes {
        id
        username
        displayName
        status
        createdAt
      }
      pageInfo {
        hasNextPage
      }
    }
  }
`)

const Create = graphql(`
  mutation Create($input: CreateUserInput!) {
    createUser(input: $input) {
      user {
        username
      }
      errors {
        __typename
        code
        path
        ... on FieldError {
          max
        }
      }
    }
  }
`)

type VariablesOf<Document> = Document extends TypedDocumentNode<infer _, infer Variables> ? Variables : never

type Answer<Result> = { data?: Result; errors?: { extensions: { code: string } }[] }

async function post<Result>(url: string, body: object): Promise<Answer<Result>> {
  const response = await fetch(`${url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  })
  return (await response.json()) as Answer<Result>
}

async function execute<Result, Variables>(
  url: string, document: TypedDocumentNode<Result, Variables>, variables: Variables,
): Promise<Result> {
  const { hash } = (document as unknown as { __meta__: { hash: string } }).__meta__
  const { data, errors } = await post<Result>(url, { documentId: hash, variables })
  assert.equal(errors, undefined)
  assert.ok(data)
  return data
}

// @ts-expect-error - a user needs a username
const incomplete: VariablesOf<typeof Create> = { input: { email: "ada@example.com" } }
assert.equal("username" in incomplete.input, false)

/** For a server with the manifest, which accepts only its documents. */
export async function persistedDocumentsAreSentByTheirHash(url: string) {
  const created = await execute(url, Create, { input: { username: "ada", email: "ada@example.com" } })
  assert.equal(created.createUser?.user?.username, "ada")
  const rejected = await execute(url, Create, { input: { username: "ADA", email: "b@example.com" } })
  const [error] = rejected.createUser?.errors ?? []
  assert.equal(error?.code, "TAKEN")
  if (error?.__typename === "FieldError") {
    const max: number | null | undefined = error.max
    assert.equal(max, null)
  }
  const { users } = await execute(url, Page, { first: 1 })
  const [user] = users?.nodes ?? []
  const status: "ACTIVE" | "DEACTIVATED" | "DELETED" | undefined = user?.status
  assert.equal(status, "ACTIVE")
  // @ts-expect-error - the document does not select this field
  assert.equal(user?.email, undefined)
  const { errors } = await post(url, { query: "{ users { totalCount } }" })
  assert.equal(errors?.[0]?.extensions.code, "DOCUMENT_NOT_TRUSTED")
}
