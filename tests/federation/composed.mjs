// Prints what a composition makes of subgraphs, or its errors and exits with 1:
// node composed.mjs <apollo|guild|wundergraph> <file>...
import { readFileSync } from "node:fs"
import { basename } from "node:path"
import { parse } from "graphql"
import { compositions } from "./compose.mjs"

const [composition, ...files] = process.argv.slice(2)
const subgraphs = files.map(file => {
  const name = basename(file, ".graphql")
  return { name, url: `http://${name}.example/graphql`, typeDefs: parse(readFileSync(file, "utf8")) }
})
try {
  console.log(compositions[composition](subgraphs))
} catch (error) {
  console.log(error.message)
  process.exit(1)
}
