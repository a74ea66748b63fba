// As `gql.tada generate-output` does, which does not run with TypeScript 7 yet.
import { minifyIntrospection, outputIntrospectionFile } from "@gql.tada/internal"
import { buildSchema, introspectionFromSchema } from "graphql"
import { readFile, writeFile } from "node:fs/promises"

const schema = buildSchema(await readFile("schema.graphql", "utf8"))
const introspection = minifyIntrospection(introspectionFromSchema(schema))
const text = await outputIntrospectionFile(introspection, { fileType: ".d.ts", shouldPreprocess: true })
await writeFile("tada/graphql-env.d.ts", text)
