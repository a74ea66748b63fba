// The list that tests/clients/follow keeps live. relay-compiler replaces the documents by artifacts.
import { graphql } from "relay-runtime"

export const list = graphql`
  query FollowListQuery {
    users(first: 100) {
      edges { cursor node { id databaseId status version createdAt username displayName } }
    }
  }
`
