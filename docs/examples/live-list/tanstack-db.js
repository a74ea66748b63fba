// LiveList for TanStack DB: a collection of users. `createCollection(liveListOptions({ client, name }))`
import { LiveList, newestFirst } from "./live-list.js"

export function liveListOptions(options) {
  return {
    id: options.name,
    getKey: (user) => user.id,
    compare: (a, b) => newestFirst({ node: a }, { node: b }),
    sync: {
      rowUpdateMode: "full",
      sync({ begin, write, commit, markReady, markError }) {
        const known = new Set()
        const list = new LiveList({ onEnd: markError, ...options, onChange(_, changes) {
          begin()
          for (const [id, edge] of changes) {
            if (edge) write({ type: known.has(id) ? "update" : "insert", value: edge.node })
            else if (known.has(id)) write({ type: "delete", key: id })
            edge ? known.add(id) : known.delete(id)
          }
          commit()
          markReady()
        } })
        const started = list.start()
        return () => { started.then(() => list.close()) }
      },
    },
  }
}
