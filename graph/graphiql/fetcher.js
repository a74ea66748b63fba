import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { getIntrospectionQuery, Kind, parse } from "graphql";

// With `isOneOf`, the editor marks inputs of @oneOf types with none or several fields.
const INTROSPECTION = getIntrospectionQuery({
  inputValueDeprecation: true,
  oneOf: true,
  schemaDescription: true,
  specifiedByUrl: true,
});

/** The name of the editor's own introspection. A developer's operation has another one. */
export const INTROSPECTION_NAME = "GraphiQLIntrospection";

/** Sends operations to this address, and subscriptions over a WebSocket with the same headers. */
export function createFetcher(address) {
  const socket = new URL(address);
  socket.protocol = socket.protocol.replace("http", "ws");
  const send = createGraphiQLFetcher({ url: address.href, subscriptionUrl: socket.href });
  return (params, options) =>
    params.operationName === INTROSPECTION_NAME
      ? send({ query: INTROSPECTION }, options)
      : send(...current(params, options));
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
