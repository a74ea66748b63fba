// A TCP proxy that cuts each connection after 16 to `most` bytes of a server's answers.
import net from "node:net"

/** Returns a function that draws numbers from 0 to 1, the same for a seed (mulberry32). */
export function randomBy(seed) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export async function startProxy(urls, random) {
  const open = new Set()
  const proxy = { most: 2 ** 16, cuts: 0, isCutting: true, stop: () => {} }
  const server = net.createServer((near) => {
    const { hostname: host, port } = new URL(urls[Math.floor(random() * urls.length)])
    const far = net.connect(Number(port), host)
    const drawn = random()
    let sent = 0
    const cut = () => { near.destroy(); far.destroy(); open.delete(near) }
    open.add(near)
    for (const socket of [near, far]) socket.on("error", cut).on("close", cut)
    near.on("data", (data) => far.write(data))
    far.on("data", (data) => {
      const left = Math.max(0, 16 * (proxy.most / 16) ** drawn - sent) // in the handshake, in pages, in events
      sent += data.length
      if (data.length < left || !proxy.isCutting) return near.write(data)
      proxy.cuts += 1
      far.removeAllListeners("data").pause()
      near.write(data.subarray(0, left), cut) // the last bytes arrive
    })
  })
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve))
  proxy.url = `http://127.0.0.1:${server.address().port}`
  proxy.stop = () => { server.close(); for (const socket of open) socket.destroy() }
  return proxy
}
