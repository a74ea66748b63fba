// Keeps a list of users equal to the server's: across lost connections, reloads and tabs.
// Reads pages, then follows the feed from the first page's `followFrom`. See docs/clients.md.
import { open, read, write } from "./store.js"

const STABLE = 10_000 // milliseconds after which a connection was a success
const CLOSE_CODES = { 4401: "UNAUTHENTICATED", 4403: "FORBIDDEN" } // of graphql-ws
const STATUSES = { 401: "UNAUTHENTICATED", 403: "FORBIDDEN" } // of graphql-sse
const FINAL = new Set(["FORBIDDEN", "GRAPHQL_VALIDATION_FAILED"])
const time = ({ node }) => node.createdAt.slice(0, -1) // without the Z, so that texts compare

/** The default order of the API. Users of one transaction can differ by their id only. */
export function newestFirst(a, b) {
  if (time(a) !== time(b)) return time(a) < time(b) ? 1 : -1
  return BigInt(a.node.databaseId) < BigInt(b.node.databaseId) ? 1 : -1
}

const codeOf = (problem) =>
  problem?.[0]?.extensions?.code ?? CLOSE_CODES[problem?.code] ?? STATUSES[problem?.response?.status]

export class LiveList {
  #edges = new Map() // by id, in no order
  #cursor // of the last event in #edges
  #unsaved = new Map() // id -> edge, or null if removed
  #saving
  #reading = Promise.resolve()
  #loading // pages that were read, until the last one
  #isLive = false // whether this connection has brought something
  #isShown = false
  #isClosed = false
  #release = new AbortController()
  #stop = () => {} // ends what the loop waits for
  #db
  #channel

  /**
   * `client` is one of graphql-ws or graphql-sse, with `retryAttempts: 0`. `name` is that of the database in the
   * browser: one for each server and signed-in user. `onChange(edges, changes)` gets the whole list, newest first,
   * and a Map of what has changed: id -> edge, or null if removed. `onEnd(problem)` is called when it gives up.
   */
  constructor({ client, name, onChange, onEnd = () => {}, fields = "username displayName",
    statuses = ["ACTIVE", "DEACTIVATED"], retryDelay = 500, maxDelay = 30_000, maxAge = 86_400_000 }) {
    Object.assign(this, { client, name, onChange, onEnd, statuses, retryDelay, maxDelay, maxAge })
    const edge = `__typename cursor node { __typename id databaseId status version createdAt ${fields} }`
    this.page = `query LiveListPage($after: String, $isFirst: Boolean!, $statuses: [UserStatus!]) {
      users(first: 100, after: $after, filter: { status: $statuses }) {
        followFrom @include(if: $isFirst) edges { ${edge} } pageInfo { hasNextPage endCursor } } }`
    this.events = `subscription LiveListEvents($after: String!) {
      userEvents(after: $after) { cursor userId versionAfter userEdge { ${edge} } } }`
  }

  /** Shows what the browser has, then follows, in one tab. The others read what that tab saves. */
  async start() {
    this.#db = await open(this.name)
    this.#db.onversionchange = () => this.close() // another tab forgets it
    this.#channel = new BroadcastChannel(this.name)
    this.#channel.onmessage = ({ data: ids }) => this.#read(ids)
    await this.#read()
    const { signal } = this.#release
    navigator.locks.request(this.name, { signal }, () => this.#lead()).catch(() => {}) // closed while it waited
  }

  async close() {
    this.#isClosed = true
    this.#release.abort()
    this.#stop()
    await this.#saving
    this.#channel.close()
    this.#db.close()
  }

  async #lead() {
    await this.#read() // all that the last leader has saved
    for (let attempt = 0; !this.#isClosed; ) {
      const began = Date.now()
      this.#isLive = false
      try {
        if (!this.#cursor) await this.#load()
        await this.#run(this.events, { after: this.#cursor }, ({ userEvents }) => this.#receive(userEvents))
      } catch (problem) {
        const code = codeOf(problem)
        if (code === "INVALID_CURSOR") this.#cursor = this.#loading = undefined // the list is read again
        const isRefused = code === "UNAUTHENTICATED" && attempt > 1 // not only an old token
        if (FINAL.has(code) || isRefused) return this.onEnd(problem)
      }
      attempt = this.#isLive || Date.now() - began > STABLE ? 0 : attempt + 1
      const delay = Math.min(this.maxDelay, this.retryDelay * 2 ** attempt) * (0.5 + Math.random() / 2)
      await this.#wait((resolve) => setTimeout(resolve, delay))
    }
    await this.#saving // before the next leader reads
  }

  /** Runs an operation to its end. Rejects at the first error: a partial answer is none. */
  #run(query, variables, next) {
    return this.#wait((resolve, reject) => {
      let isOver = false // results that come late are ignored
      const over = (settle) => (value) => { isOver = true; settle(value) }
      const dispose = this.client.subscribe({ query, variables }, {
        next: ({ data, errors }) => isOver || (errors ? over(reject)(errors) : next(data)),
        error: over(reject),
        complete: over(resolve),
      })
      return () => { over(resolve)(); dispose() }
    })
  }

  #wait(begin) {
    if (this.#isClosed) return undefined
    return new Promise((resolve, reject) => {
      const stop = begin(resolve, reject)
      this.#stop = typeof stop === "function" ? stop : resolve
    })
  }

  /** Reads all pages, after a lost connection from the page that was cut. */
  async #load() {
    const list = this.#loading ??= { edges: new Map() }
    while (list.page?.pageInfo.hasNextPage !== false) {
      const before = list.page
      const variables = { after: before?.pageInfo.endCursor, isFirst: !before, statuses: this.statuses }
      await this.#run(this.page, variables, ({ users: page }) => {
        list.cursor ??= page.followFrom // of the first page: changes that it lacks can be before the later ones
        for (const edge of page.edges) list.edges.set(edge.node.id, edge)
        list.page = page
        this.#isLive = true
      })
      if (list.page === before) throw new Error("The list was closed, or the answer cut.")
    }
    this.#loading = undefined
    const removed = [...this.#edges.keys()].filter((id) => !list.edges.has(id))
    const changes = new Map([...removed.map((id) => [id, null]), ...list.edges])
    this.#cursor = list.cursor
    this.#save(changes)
    if (!list.cursor) throw [{ message: "You may read users, but not follow them.", extensions: { code: "FORBIDDEN" } }]
  }

  #receive({ cursor, userId, versionAfter, userEdge }) {
    this.#isLive = true
    this.#cursor = cursor
    const isKnown = this.#edges.get(userId)?.node.version >= versionAfter
    const edge = this.statuses.includes(userEdge?.node.status) ? userEdge : null
    this.#save(new Map(isKnown ? [] : [[userId, edge]]))
  }

  #save(changes) {
    for (const [id, edge] of changes) {
      this.#unsaved.set(id, edge)
      edge ? this.#edges.set(id, edge) : this.#edges.delete(id)
    }
    this.#saving ??= this.#write().finally(() => { this.#saving = undefined })
  }

  async #write() {
    await undefined // events that arrive together are written together
    for (let cursor; cursor !== this.#cursor || this.#unsaved.size; ) {
      const changes = this.#unsaved
      cursor = this.#cursor
      this.#unsaved = new Map()
      this.#show(changes)
      try {
        await write(this.#db, changes, cursor)
        this.#channel.postMessage([...changes.keys()])
      } catch (problem) { // the browser keeps the earlier list with its cursor
        console.warn("The list of users was not saved.", problem)
        this.#unsaved = new Map([...changes, ...this.#unsaved])
        return
      }
    }
  }

  /** Reads what was saved: everything, or the users with these ids. One call after another. */
  #read(ids) {
    return this.#reading = this.#reading.then(async () => {
      if (this.#isClosed) return
      const { edges, cursor, savedAt } = await read(this.#db, ids)
      const isOld = Date.now() - savedAt > this.maxAge // to read the list is faster than to replay
      this.#cursor = isOld ? undefined : cursor
      if (!ids) for (const id of this.#edges.keys()) if (!edges.has(id)) edges.set(id, null)
      for (const [id, edge] of edges) edge ? this.#edges.set(id, edge) : this.#edges.delete(id)
      if (cursor) this.#show(edges)
    })
  }

  #show(changes) {
    if (this.#isClosed || (this.#isShown && !changes.size)) return
    this.#isShown = true // also an empty list
    this.onChange([...this.#edges.values()].sort(newestFirst), changes)
  }
}
