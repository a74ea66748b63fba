// urql with Graphcache as docs/clients.md configures it.
import { Client, fetchExchange, subscriptionExchange } from "@urql/core"
import { cacheExchange } from "@urql/exchange-graphcache"
import { relayPagination } from "@urql/exchange-graphcache/extras"
import { buildSchema, introspectionFromSchema } from "graphql"
import { createClient } from "graphql-ws"
import assert from "node:assert/strict"
import { readFile } from "node:fs/promises"

const schema = introspectionFromSchema(buildSchema(await readFile("schema.graphql", "utf8")))
// Printed by `roster schema --possible-types`.
const types = JSON.parse(await readFile("possible-types.json", "utf8"))
const keys = Object.fromEntries(
  Object.entries(types.keys).map(([type, key]) => [type, (data) => (key ? data[key] : null)]),
)

export function newClient(url, { optimistic, updates } = {}) {
  const socket = createClient({ url: `${url.replace("http", "ws")}/graphql` })
  return new Client({
    url: `${url}/graphql`,
    preferGetMethod: false,
    exchanges: [
      cacheExchange({
        schema,
        keys,
        resolvers: { Query: { users: relayPagination() } },
        optimistic,
        updates,
        logger: (severity, message) => assert.fail(`${severity}: ${message}`),
      }),
      fetchExchange,
      subscriptionExchange({
        forwardSubscription: (operation) => ({
          subscribe: (sink) => ({ unsubscribe: socket.subscribe(operation, sink) }),
        }),
      }),
    ],
  })
}

export async function done(source) {
  const { data, error } = await source.toPromise()
  assert.equal(error, undefined, String(error))
  return data
}
