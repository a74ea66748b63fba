// The other subgraphs: each extends Roster's User by another key.
import { readFileSync } from "node:fs"
import { ApolloServer } from "@apollo/server"
import { ApolloServerPluginInlineTraceDisabled } from "@apollo/server/plugin/disabled"
import { startStandaloneServer } from "@apollo/server/standalone"
import { buildSubgraphSchema } from "@apollo/subgraph"
import { parse } from "graphql"

const DEVICES = [
  { id: "device-1", name: "Laptop", ownerId: "VXNlcjox", reasonId: "VXNlckV2ZW50OjE" },
  { id: "device-2", name: "Phone", ownerId: "VXNlcjoy", reasonId: "VXNlckV2ZW50OjI" },
  { id: "device-3", name: "Tablet", ownerId: "VXNlcjox" },
  { id: "device-4", name: "Lost", ownerId: "VXNlcjo5OQ" },
  { id: "device-5", name: "Broken", ownerId: "x" },
  { id: "device-6", name: "New" },
]
const device = id => DEVICES.find(device => device.id === id)
// An id of Roster is base64 of its type, a colon and a number.
const node = id => device(id) ?? { __typename: atob(id).split(":")[0], id }
const PAGE = { hasNextPage: false, hasPreviousPage: false }

const resolvers = {
  devices: {
    Query: {
      devices: () => ({ nodes: DEVICES, pageInfo: PAGE }),
      node: (_, { id }) => node(id),
      nodes: (_, { ids }) => ids.map(node),
    },
    Node: { __resolveType: object => object.__typename ?? "Device" },
    Device: {
      __resolveReference: ({ id }) => device(id),
      owner: ({ ownerId }) => ownerId && { id: ownerId },
      reason: ({ reasonId }) => reasonId && { id: reasonId },
    },
    User: { devices: ({ id }) => DEVICES.filter(({ ownerId }) => ownerId === id) },
  },
  badges: {
    Query: { badges: () => [{ color: "red", holderId: "1" }, { color: "blue", holderId: "2" }] },
    Badge: { holder: ({ holderId }) => ({ databaseId: holderId }) },
    User: { badge: ({ databaseId }) => ({ color: databaseId === "1" ? "red" : "blue", holderId: databaseId }) },
  },
  staff: {
    Query: { employees: () => [{ department: "IT", key: "hr-1" }, { department: "Sales", key: "hr-2" }] },
    Employee: { account: ({ key }) => ({ externalId: key }) },
    User: { employee: ({ externalId }) => externalId && { department: "IT", key: externalId } },
  },
}

// Returns the subgraphs as a composition takes them. `seen` gets the tokens of their requests.
export const serve = seen =>
  Promise.all(
    Object.keys(resolvers).map(async name => {
      const typeDefs = parse(readFileSync(`subgraphs/${name}.graphql`, "utf8"))
      const schema = buildSubgraphSchema({ typeDefs, resolvers: resolvers[name] })
      const server = new ApolloServer({ schema, plugins: [ApolloServerPluginInlineTraceDisabled()] })
      const { url } = await startStandaloneServer(server, {
        listen: { host: "127.0.0.1", port: 0 },
        context: async ({ req }) => seen.push(req.headers.authorization ?? null),
      })
      return { name, url, typeDefs }
    }),
  )
