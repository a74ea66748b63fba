import { createClient } from "graphql-ws"
import { LiveList } from "./live-list.js"

const server = new URLSearchParams(location.search).get("url") ?? "http://127.0.0.1:8000"
const client = createClient({
  url: `${server.replace("http", "ws")}/graphql`,
  retryAttempts: 0, // the list reconnects, from its own cursor
  lazyCloseTimeout: 1_000, // one socket for pages and events
  keepAlive: 10_000, // notices a connection that is silent
})

const rows = document.querySelector("tbody")
const byId = new Map()

function row({ node }, isChanged) {
  const tr = byId.get(node.id) ?? document.createElement("tr")
  byId.set(node.id, tr)
  tr.className = [isChanged && "is-new", node.status === "DEACTIVATED" && "is-deactivated"].filter(Boolean).join(" ")
  const texts = [node.username, node.displayName ?? "", node.status.toLowerCase(), node.version]
  tr.replaceChildren(...texts.map((text) => Object.assign(document.createElement("td"), { textContent: text })))
  return tr
}

const list = new LiveList({
  client,
  name: `users of ${server}`,
  onChange(edges, changes) {
    for (const [id, edge] of changes) {
      if (edge) row(edge, rows.hasChildNodes())
      else byId.delete(id)
    }
    rows.replaceChildren(...edges.map(({ node }) => byId.get(node.id)))
    document.querySelector("#count").textContent = edges.length === 1 ? "1 user" : `${edges.length} users`
  },
  onEnd(problem) {
    document.querySelector("#count").textContent = `Not live: ${problem[0]?.message ?? problem.reason}`
  },
})
await list.start()
