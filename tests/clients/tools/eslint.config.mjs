// graphql-eslint with the recommended rules for schemas and those for Relay.
import graphql from "@graphql-eslint/eslint-plugin"
import { readFile } from "node:fs/promises"

const { keys } = JSON.parse(await readFile("possible-types.json", "utf8"))
const embedded = Object.keys(keys).filter((type) => keys[type] === null)

export default [
  {
    files: ["schema.graphql"],
    plugins: { "@graphql-eslint": graphql },
    languageOptions: {
      parser: graphql.parser,
      parserOptions: { graphQLConfig: { schema: "./schema.graphql" } },
    },
    rules: {
      ...graphql.configs["flat/schema-recommended"].rules,
      ...graphql.configs["flat/schema-relay"].rules,
      // Only types that implement Node have an identity.
      "@graphql-eslint/strict-id-in-types": ["error", { exceptions: { types: embedded } }],
      // Connections have `nodes` beside `edges`, as many do, and short lists are no connections.
      "@graphql-eslint/relay-edge-types": ["error", { listTypeCanWrapOnlyEdgeType: false }],
    },
  },
]
