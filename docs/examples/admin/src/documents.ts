// The operations, and the types of their variables and results. Real projects generate these types.
import { gql, type TypedDocumentNode } from "@apollo/client"

export type Status = "ACTIVE" | "DEACTIVATED" | "DELETED"
export type Action = "UPDATE" | "DEACTIVATE" | "REACTIVATE" | "DELETE" | "RESTORE" | "ERASE" | "VIEW_HISTORY"

export type User = {
  id: string
  databaseId: string
  username: string
  email: string
  displayName: string | null
  status: Status
  version: number
  createdAt: string
  viewerCan: Action[]
}
export type Change = { at: string; actor: { type: string; label: string | null } }
export type UserError = {
  __typename: string
  code: string
  message: string
  path: string[]
  changedFields?: string[]
  current?: User & { history: { nodes: Change[] } | null }
}
export type Edge = { cursor: string; node: User }
export type Page = {
  users: { edges: Edge[]; pageInfo: { hasNextPage: boolean; endCursor: string | null } }
}
export type ListVariables = { status: Status[]; search: string }
export type Payload = { user?: User | null; errors: UserError[] }

const ROW = gql`
  fragment Row on User {
    id databaseId username email displayName status version createdAt viewerCan
  }
`

export const USERS: TypedDocumentNode<Page, ListVariables & { after?: string | null }> = gql`
  query Users($status: [UserStatus!], $search: String, $after: String) {
    users(first: 50, after: $after, filter: { status: $status }, search: $search, orderBy: [{ field: CREATED_AT, direction: DESC }]) {
      edges { cursor node { ...Row } }
      pageInfo { hasNextPage endCursor }
    }
  }
  ${ROW}
`

export const COUNTS: TypedDocumentNode<
  { users: { statusCounts: { status: Status; count: number }[] | null } },
  { search: string }
> = gql`
  query Counts($search: String) {
    users(first: 0, search: $search) { statusCounts { status count } }
  }
`

export const VIEWER: TypedDocumentNode<{ viewer: User | null }> = gql`
  query Viewer { viewer { ...Row } }
  ${ROW}
`

// Which of these users belong to the list now, and at which position?
export const MATCHES: TypedDocumentNode<Page, ListVariables & { ids: string[] }> = gql`
  query Matches($ids: [ID!], $status: [UserStatus!], $search: String) {
    users(first: 100, filter: { id: $ids, status: $status }, search: $search, orderBy: [{ field: CREATED_AT, direction: DESC }]) {
      edges { cursor node { ...Row } }
      pageInfo { hasNextPage endCursor }
    }
  }
  ${ROW}
`

// Selects the row of the user: the cache then shows the change in every list.
export const EVENTS: TypedDocumentNode<{ userEvents: { userId: string; user: User | null } }> = gql`
  subscription Events { userEvents { cursor userId user { ...Row } } }
  ${ROW}
`

const ERRORS = gql`
  fragment Errors on UserError {
    __typename code message path
    ... on VersionConflictError {
      changedFields
      current { ...Row history(first: 1, orderBy: NEWEST_FIRST) { nodes { at actor { type label } } } }
    }
  }
  ${ROW}
`

type Write = TypedDocumentNode<{ write: Payload | null }, { input: Record<string, unknown> }>

export const CREATE: Write = gql`
  mutation Create($input: CreateUserInput!) { write: createUser(input: $input) { user { ...Row } errors { ...Errors } } }
  ${ERRORS}
`
export const UPDATE: Write = gql`
  mutation Update($input: UpdateUserInput!) { write: updateUser(input: $input) { user { ...Row } errors { ...Errors } } }
  ${ERRORS}
`

export const TRANSITIONS: Partial<Record<Action, Write>> = {
  DEACTIVATE: gql`
    mutation Deactivate($input: UserTransitionInput!) { write: deactivateUser(input: $input) { user { ...Row } errors { ...Errors } } }
    ${ERRORS}
  `,
  REACTIVATE: gql`
    mutation Reactivate($input: UserTransitionInput!) { write: reactivateUser(input: $input) { user { ...Row } errors { ...Errors } } }
    ${ERRORS}
  `,
  DELETE: gql`
    mutation Delete($input: DeleteUserInput!) { write: deleteUser(input: $input) { user { ...Row } errors { ...Errors } } }
    ${ERRORS}
  `,
  RESTORE: gql`
    mutation Restore($input: UserTransitionInput!) { write: restoreUser(input: $input) { user { ...Row } errors { ...Errors } } }
    ${ERRORS}
  `,
}
export const ERASE: Write = gql`
  mutation Erase($input: EraseUserInput!) { write: eraseUser(input: $input) { errors { ...Errors } } }
  ${ERRORS}
`
