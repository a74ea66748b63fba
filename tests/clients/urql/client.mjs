// urql with Graphcache as docs/clients.md configures it.
import { Client, fetchExchange, subscriptionExchange } from "@urql/core"
import { cacheExchange } from "@urql/exchange-graphcache"
import { relayPagination } from "@urql/exchange-graphcache/extras"
import { buildSchema, introspectionFromSchema } from "graphql"
import { createClient } from "graphql-ws"
import assert from "node:assert/strict"
import { readFile } from "node:fs/promises"
import { authorization } from "../directory.mjs"

const schema = introspectionFromSchema(buildSchema(await readFile("schema.graphql", "utf8")))
const { keys } = JSON.parse(await readFile("possible-types.json", "utf8"))

export function newClient(url, { optimistic, updates, exchanges = [] } = {}) {
  const socket = createClient({ url: `${url.replace("http", "ws")}/graphql` })
  const exchange = cacheExchange({
    schema,
    keys: Object.fromEntries(
      Object.entries(keys).map(([type, key]) => [type, (data) => (key ? data[key] : null)]),
    ),
    resolvers: { Query: { users: relayPagination() } },
    optimistic,
    updates,
    logger: (severity, message) => assert.fail(`${severity}: ${message}`),
  })
  return new Client({
    url: `${url}/graphql`,
    preferGetMethod: false,
    fetchOptions: { headers: authorization() },
    exchanges: [
      exchange,
      ...exchanges,
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
