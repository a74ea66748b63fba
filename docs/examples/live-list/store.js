// The list and its cursor in IndexedDB. Both change in one transaction.

const STORES = ["edges", "state"]

const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result)
  request.onerror = () => reject(request.error)
})

export function open(name) {
  const request = indexedDB.open(name)
  request.onupgradeneeded = () => STORES.forEach((store) => request.result.createObjectStore(store))
  return done(request)
}

export const forget = (name) => done(indexedDB.deleteDatabase(name))

/** Returns the cursor, when it was saved, and the edges by id: all, or those of `ids` with null for missing ones. */
export async function read(db, ids) {
  const transaction = db.transaction(STORES)
  const [edges, state] = STORES.map((store) => transaction.objectStore(store))
  const [saved, found] = await Promise.all([
    done(state.get("saved")),
    ids ? Promise.all(ids.map((id) => done(edges.get(id)))) : done(edges.getAll()),
  ])
  const pairs = found.map((edge, index) => [ids ? ids[index] : edge.node.id, edge ?? null])
  return { ...saved, edges: new Map(pairs) }
}

/** Saves edges by id, null removes one, and the cursor of the last event in them. */
export function write(db, changes, cursor) {
  const transaction = db.transaction(STORES, "readwrite")
  const [edges, state] = STORES.map((store) => transaction.objectStore(store))
  for (const [id, edge] of changes) edge ? edges.put(edge, id) : edges.delete(id)
  state.put({ cursor, savedAt: Date.now() }, "saved")
  return new Promise((resolve, reject) => {
    transaction.oncomplete = resolve
    transaction.onabort = () => reject(transaction.error)
  })
}
