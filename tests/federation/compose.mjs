// Three compositions of subgraphs, each { name, url, typeDefs } with a parsed document.
import { composeServices as composeByApollo } from "@apollo/composition"
import { composeServices as composeByGuild } from "@theguild/federation-composition"
import { federateSubgraphs, ROUTER_COMPATIBILITY_VERSION_ONE } from "@wundergraph/composition"
import { print } from "graphql"

const failed = errors => {
  if (errors?.length) throw new Error(errors.map(error => error.message).join("\n"))
}

export const compositions = {
  apollo(subgraphs) {
    const { errors, supergraphSdl } = composeByApollo(subgraphs)
    failed(errors)
    return supergraphSdl
  },
  guild(subgraphs) {
    const { errors, supergraphSdl } = composeByGuild(subgraphs)
    failed(errors)
    return supergraphSdl
  },
  wundergraph(subgraphs) {
    const result = federateSubgraphs({
      subgraphs: subgraphs.map(({ name, url, typeDefs }) => ({ name, url, definitions: typeDefs })),
      version: ROUTER_COMPATIBILITY_VERSION_ONE,
    })
    failed(result.errors)
    return print(result.federatedGraphAST)
  },
}
