// The documents of the tests, as components would declare them. Only relay-compiler reads this file.
import { graphql } from "relay-runtime"

graphql`
  query UsersPageQuery($first: Int, $after: String, $last: Int, $before: String) {
    ...Users_page @arguments(first: $first, after: $after, last: $last, before: $before)
  }
`
graphql`
  fragment Users_page on Query
  @refetchable(queryName: "UsersPaginationQuery")
  @argumentDefinitions(
    first: { type: "Int" }
    after: { type: "String" }
    last: { type: "Int" }
    before: { type: "String" }
  ) {
    users(
      first: $first
      after: $after
      last: $last
      before: $before
      orderBy: [{ field: USERNAME, direction: ASC }]
    ) @connection(key: "Users_page_users") {
      __id
      edges {
        node {
          id
          username
        }
      }
      pageInfo {
        hasNextPage
        hasPreviousPage
      }
    }
  }
`
graphql`
  query UsersListQuery {
    users(first: 10) @connection(key: "Users_list_users") {
      __id
      edges {
        node {
          id
          username
          displayName
          version
        }
      }
    }
  }
`
graphql`
  query UsersNodeQuery($id: ID!) {
    node(id: $id) {
      ...Users_user @alias(as: "user")
    }
  }
`
graphql`
  fragment Users_user on User @refetchable(queryName: "UsersUserRefetchQuery") {
    displayName
    version
  }
`
graphql`
  query UsersCatchQuery($id: ID!) {
    user(id: $id) @catch(to: RESULT) {
      username
    }
    users(first: 1) {
      nodes {
        username
      }
    }
  }
`
graphql`
  query UsersHistoryQuery($id: ID!) {
    user(id: $id) {
      history {
        nodes {
          actor {
            type
            id
            label
          }
          user {
            username
          }
        }
      }
    }
  }
`
graphql`
  mutation UsersCreateMutation($input: CreateUserInput!, $connections: [ID!]!) {
    createUser(input: $input) {
      userEdge @prependEdge(connections: $connections) {
        cursor
        node {
          id
          username
          displayName
          version
        }
      }
      errors {
        code
        path
      }
    }
  }
`
graphql`
  mutation UsersRenameMutation($input: UpdateUserInput!) {
    updateUser(input: $input) {
      user {
        displayName
        version
      }
      errors {
        code
        path
        message
        ... on NotFoundError {
          __typename
        }
        ... on VersionConflictError {
          changedFields
          current {
            displayName
            version
          }
        }
      }
    }
  }
`
graphql`
  mutation UsersDeleteEdgeMutation($input: DeleteUserInput!, $connections: [ID!]!) {
    deleteUser(input: $input) {
      deletedUserId @deleteEdge(connections: $connections)
      errors {
        code
      }
    }
  }
`
graphql`
  mutation UsersDeleteRecordMutation($input: DeleteUserInput!) {
    deleteUser(input: $input) {
      deletedUserId @deleteRecord
      errors {
        code
      }
    }
  }
`
graphql`
  subscription UsersEventsSubscription($after: String) {
    userEvents(after: $after) {
      type
      cursor
      user {
        username
        displayName
        version
      }
    }
  }
`
