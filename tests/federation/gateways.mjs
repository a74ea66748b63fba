// Runs Apollo's and The Guild's gateway in front of Roster and the other subgraphs:
// node gateways.mjs <base URL of Roster>, with a token in TOKEN.
// Prints the URL of each gateway, and of a list of the tokens that the other subgraphs have got.
import { createServer } from "node:http"
import { ApolloGateway, RemoteGraphQLDataSource } from "@apollo/gateway"
import { ApolloServer } from "@apollo/server"
import { startStandaloneServer } from "@apollo/server/standalone"
import { createGatewayRuntime } from "@graphql-hive/gateway-runtime"
import { parse } from "graphql"
import { compositions } from "./compose.mjs"
import { serve } from "./subgraphs.mjs"

const url = `${process.argv[2]}/graphql`

async function roster() {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${process.env.TOKEN}` },
    body: JSON.stringify({ query: "{ _service { sdl } }" }),
  })
  const { data, errors } = await response.json()
  if (errors) throw new Error(JSON.stringify(errors))
  return { name: "roster", url, typeDefs: parse(data._service.sdl) }
}

class WithToken extends RemoteGraphQLDataSource {
  willSendRequest({ request, context }) {
    if (context.authorization) request.http.headers.set("authorization", context.authorization)
  }
}

async function apollo(subgraphs) {
  const supergraphSdl = compositions.apollo(subgraphs)
  const gateway = new ApolloGateway({
    supergraphSdl,
    buildService: ({ url }) => new WithToken({ url }),
  })
  const { url } = await startStandaloneServer(new ApolloServer({ gateway, includeStacktraceInErrorResponses: false }), {
    context: async ({ req }) => ({ authorization: req.headers.authorization }),
    listen: { host: "127.0.0.1", port: 0 },
  })
  return url
}

async function hive(subgraphs) {
  const gateway = createGatewayRuntime({
    supergraph: compositions.guild(subgraphs),
    propagateHeaders: {
      fromClientToSubgraphs: ({ request }) => ({ authorization: request.headers.get("authorization") }),
    },
    maskedErrors: false,
    logging: false,
  })
  return listen(createServer(gateway), "/graphql")
}

function listen(server, path = "/") {
  return new Promise(resolve => {
    server.listen(0, "127.0.0.1", () => resolve(`http://127.0.0.1:${server.address().port}${path}`))
  })
}

process.stdin.on("end", () => process.exit()).resume() // the test has ended
const seen = []
const subgraphs = [await roster(), ...(await serve(seen))]
const tokens = createServer((_, response) => response.end(JSON.stringify(seen.splice(0))))
console.log(
  JSON.stringify({ apollo: await apollo(subgraphs), hive: await hive(subgraphs), tokens: await listen(tokens) }),
)
