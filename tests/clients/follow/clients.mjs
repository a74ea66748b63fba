// Apollo Client, urql, Relay and TanStack DB, each with its adapter of the example.
import { gql } from "@apollo/client"
import { createCollection } from "@tanstack/db"
import { gql as urqlGql } from "@urql/core"
import { newClient as newApollo } from "../apollo/client.mjs"
import { onChangeOfApollo } from "../live-list/apollo.js"
import { onChangeOfRelay } from "../live-list/relay.js"
import { liveListOptions } from "../live-list/tanstack-db.js"
import { answerExchange, onChangeOfUrql } from "../live-list/urql.js"
import { artifact, newEnvironment } from "../relay/environment.mjs"
import relay from "relay-runtime"
import { newClient as newUrql } from "../urql/client.mjs"
import { fail, follow, LIST, through } from "./follow.mjs"

// What the cache of each client answers, without a request: connections below may not help it.

export async function apolloClient(url) {
  const query = gql(LIST)
  const client = newApollo(url)
  const read = () => client.readQuery({ query }).users.edges
  await follow("Apollo Client", url, through(onChangeOfApollo(client, query), read))
}

export async function urqlGraphcache(url) {
  const query = urqlGql(LIST)
  const client = newUrql(url, { exchanges: [answerExchange] })
  const shown = []
  client.query(query, {}, { requestPolicy: "cache-only" }).subscribe(({ data }) => shown.push(data)) // a mounted list
  const read = () => shown.at(-1).users.edges
  await follow("urql with Graphcache", url, through(onChangeOfUrql(client, query), read))
}

export async function relayStore(url) {
  const environment = newEnvironment(url)
  const query = artifact("FollowListQuery")
  const operation = relay.createOperationDescriptor(query, {})
  const read = () => environment.lookup(operation.fragment).data.users.edges
  await follow("Relay", url, through(onChangeOfRelay(environment, query), read))
}

export async function tanStackDb(url) {
  await follow("TanStack DB", url, async (client, name) => {
    const options = { client, name, retryDelay: 2, maxDelay: 50, onEnd: fail }
    const collection = createCollection(liveListOptions(options))
    await collection.preload()
    return {
      read: () => collection.toArray.map((node) => ({ node })),
      close: () => collection.cleanup(),
    }
  })
}
