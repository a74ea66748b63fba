// The operations, and the types of their variables and results. Real projects generate these types.
import { gql, type TypedDocumentNode } from "@apollo/client"

export type Status = "ACTIVE" | "DEACTIVATED" | "DELETED"
export type Action = "UPDATE" | "DEACTIVATE" | "REACTIVATE" | "DELETE" | "RESTORE" | "ERASE" | "VIEW_HISTORY"
export type Scope = "READ" | "WRITE" | "ERASE" | "HISTORY" | "LINK"

export type User = {
  id: string
  databaseId: string
  username: string
  email: string
  displayName: string | null
  status: Status
  erasedAt: string | null
  version: number
  createdAt: string
  viewerCan: Action[]
}
export type Change = { fieldName: string; before: string | null; after: string | null; redacted: boolean }
export type UserError = { __typename: string; code: string; message: string; path: string[] }
export type Conflict = UserError & {
  actualVersion: number
  current: User
  changedAt: string
  changedBy: { type: string; label: string | null } | null
  changes: Change[] | null
}
export type Edge = { cursor: string; node: User }
export type Page = {
  users: { edges: Edge[]; pageInfo: { hasNextPage: boolean; endCursor: string | null } }
  counts: { statusCounts: { status: Status; count: number }[] | null }
}
export type ListVariables = { status: Status; search: string }
export type Payload = { user?: User | null; errors: UserError[] }
export type Input = Record<string, unknown>
export type Write = TypedDocumentNode<{ write: Payload | null }, { input: Input }>
export type Session = { viewer: User | null; viewerScopes: Scope[]; users: { followFrom: string | null } }

const ROW = gql`
  fragment Row on User {
    id databaseId username email displayName status erasedAt version createdAt viewerCan
  }
`

// The page is read after this: changes that it does not have are events after `followFrom`.
export const SESSION: TypedDocumentNode<Session> = gql`
  query Session { viewer { ...Row } viewerScopes users(first: 0) { followFrom } }
  ${ROW}
`

export const USERS: TypedDocumentNode<Page, ListVariables & { after?: string | null; isNext?: boolean }> = gql`
  query Users($status: UserStatus!, $search: String, $after: String, $isNext: Boolean = false) {
    users(first: 50, after: $after, filter: { status: [$status] }, search: $search, orderBy: [{ field: CREATED_AT, direction: DESC }]) {
      edges { cursor node { ...Row } }
      pageInfo { hasNextPage endCursor }
    }
    counts: users(first: 0, search: $search) @skip(if: $isNext) { statusCounts { status count } }
  }
  ${ROW}
`

// Which of these users belong to the list now?
export const MATCHES: TypedDocumentNode<Page, ListVariables & { ids: string[] }> = gql`
  query Matches($ids: [ID!]!, $status: UserStatus!, $search: String) {
    users(first: 100, filter: { id: $ids, status: [$status] }, search: $search, orderBy: [{ field: CREATED_AT, direction: DESC }]) {
      edges { cursor node { ...Row } }
      pageInfo { hasNextPage endCursor }
    }
    counts: users(first: 0, search: $search) { statusCounts { status count } }
  }
  ${ROW}
`

// Selects the row of the user: the cache then shows the change in every list.
export const EVENTS: TypedDocumentNode<{ userEvents: { userId: string } }, { after: string | null }> = gql`
  subscription Events($after: String) { userEvents(after: $after) { cursor userId user { ...Row } } }
  ${ROW}
`

const ERRORS = gql`
  fragment Errors on UserError {
    __typename code message path
    ... on VersionConflictError {
      actualVersion changedAt changedBy { type label } changes { fieldName before after redacted } current { ...Row }
    }
  }
  ${ROW}
`

export const CREATE: Write = gql`
  mutation Create($input: CreateUserInput!) { write: createUser(input: $input) { user { ...Row } errors { ...Errors } } }
  ${ERRORS}
`
export const UPDATE: Write = gql`
  mutation Update($input: UpdateUserInput!) { write: updateUser(input: $input) { user { ...Row } errors { ...Errors } } }
  ${ERRORS}
`
export const DEACTIVATE: Write = gql`
  mutation Deactivate($input: UserTransitionInput!) { write: deactivateUser(input: $input) { user { ...Row } errors { ...Errors } } }
  ${ERRORS}
`
export const REACTIVATE: Write = gql`
  mutation Reactivate($input: UserTransitionInput!) { write: reactivateUser(input: $input) { user { ...Row } errors { ...Errors } } }
  ${ERRORS}
`
export const DELETE: Write = gql`
  mutation Delete($input: DeleteUserInput!) { write: deleteUser(input: $input) { user { ...Row } errors { ...Errors } } }
  ${ERRORS}
`
export const RESTORE: Write = gql`
  mutation Restore($input: UserTransitionInput!) { write: restoreUser(input: $input) { user { ...Row } errors { ...Errors } } }
  ${ERRORS}
`
export const ERASE: Write = gql`
  mutation Erase($input: EraseUserInput!) { write: eraseUser(input: $input) { errors { ...Errors } } }
  ${ERRORS}
`
