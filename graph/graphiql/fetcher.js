import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { getIntrospectionQuery, Kind, parse } from "graphql";
import { createClient } from "graphql-ws";

// With `isOneOf`, the editor marks inputs of @oneOf types with none or several fields.
const INTROSPECTION = getIntrospectionQuery({
  inputValueDeprecation: true,
  oneOf: true,
  schemaDescription: true,
  specifiedByUrl: true,
});

const FORBIDDEN = 4403; // the close code after a `connection_init` that is rejected

/** The name of the editor's own introspection. A developer's operation has another one. */
export const INTROSPECTION_NAME = "GraphiQLIntrospection";

/** Sends operations to this address, and subscriptions over a WebSocket with the same headers. */
export function createFetcher(address) {
  const socket = new URL(address);
  socket.protocol = socket.protocol.replace("http", "ws");
  return (params, options) => {
    const send = createGraphiQLFetcher({
      url: address.href,
      wsClient: connect(socket.href, options?.headers),
    });
    return params.operationName === INTROSPECTION_NAME
      ? send({ query: INTROSPECTION }, options)
      : send(...current(params, options));
  };
}

// Each run has its own socket, which it opens only if it is a subscription. A token that is rejected
// stays rejected: graphql-ws would try again for half a minute before it shows the error.
function connect(url, connectionParams) {
  return createClient({ url, connectionParams, shouldRetry: ({ code }) => code !== FORBIDDEN });
}

// GraphiQL parses the text 100 ms after a change. If it is run earlier, the name and the document
// belong to the text before.
function current(params, options) {
  let documentAST;
  try {
    documentAST = parse(params.query);
  } catch {
    return [params, options]; // the server explains the error
  }
  const names = documentAST.definitions
    .filter(({ kind }) => kind === Kind.OPERATION_DEFINITION)
    .map(({ name }) => name?.value);
  const operationName = names.includes(params.operationName) ? params.operationName : names[0];
  return [
    { ...params, operationName },
    { ...options, documentAST },
  ];
}
