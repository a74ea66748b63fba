// A proxy in front of a server whose answers can get lost, as on a bad network.
import { once } from "node:events"
import { createServer } from "node:http"

/**
 * Starts a proxy. `onAnswer(number)` is called when the server has answered the request of this number: the answer is
 * passed on, or lost with its connection if the result is "lost".
 */
export async function startProxy(url, onAnswer) {
  const proxy = { requests: [] }
  const server = createServer(async (incoming, outgoing) => {
    const parts = []
    for await (const part of incoming) parts.push(part)
    const body = Buffer.concat(parts)
    proxy.requests.push(JSON.parse(body))
    const { method, headers } = incoming
    const answer = await fetch(url + incoming.url, {
      method, body, headers: { "content-type": headers["content-type"], accept: headers.accept },
    })
    const content = Buffer.from(await answer.arrayBuffer()) // the server has committed now
    if ((await onAnswer(proxy.requests.length)) === "lost") return incoming.socket.destroy()
    outgoing.writeHead(answer.status, { "content-type": answer.headers.get("content-type") })
    outgoing.end(content)
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  proxy.url = `http://127.0.0.1:${server.address().port}`
  return proxy
}
