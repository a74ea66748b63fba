// Runs one exported function of a module: node run.mjs <module> <function> <base URL>
import { pathToFileURL } from "node:url"

const [file, name, url] = process.argv.slice(2)
const module = await import(pathToFileURL(file).href)
await module[name](url)
process.exit(0) // open sockets and caches do not keep the process alive
