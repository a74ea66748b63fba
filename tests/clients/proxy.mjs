// A proxy in front of a server whose requests and answers can get lost, as on a bad network.
import { once } from "node:events"
import { createServer } from "node:http"

const nothing = async () => {}

/**
 * Starts a proxy. `onRequest` is called before a request is sent to the server, and `onAnswer` when the server has
 * answered. The client loses its connection if the result of `onRequest` is "lost" (the request is not sent) or "cut"
 * (it is sent at the same time), or if that of `onAnswer` is "lost".
 */
export async function startProxy(url, { onRequest = nothing, onAnswer = nothing }) {
  const proxy = { requests: [] }
  const server = createServer(async (incoming, outgoing) => {
    const parts = []
    for await (const part of incoming) parts.push(part)
    const body = Buffer.concat(parts)
    proxy.requests.push(JSON.parse(body))
    const { method, headers } = incoming
    const sent = await onRequest()
    if (sent) incoming.socket.destroy()
    if (sent === "lost") return
    const answer = await fetch(url + incoming.url, {
      method, body, headers: { "content-type": headers["content-type"], accept: headers.accept },
    })
    const content = Buffer.from(await answer.arrayBuffer()) // the server has committed now
    if (sent === "cut") return
    if ((await onAnswer()) === "lost") return incoming.socket.destroy()
    outgoing.writeHead(answer.status, { "content-type": answer.headers.get("content-type") })
    outgoing.end(content)
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  proxy.url = `http://127.0.0.1:${server.address().port}`
  return proxy
}
