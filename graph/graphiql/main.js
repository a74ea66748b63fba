import "graphiql/setup-workers/vite";
import "graphiql/style.css";
import "@graphiql/plugin-explorer/style.css";
import "./style.css";

import { explorerPlugin } from "@graphiql/plugin-explorer";
import { ToolbarButton, useGraphiQL } from "@graphiql/react";
import { GraphiQL, HISTORY_PLUGIN } from "graphiql";
import { createElement, Fragment } from "react";
import { createRoot } from "react-dom/client";

import { createFetcher, INTROSPECTION_NAME } from "./fetcher.js";

const EXAMPLE = `# The newest users. Ctrl-Enter runs it.
query Users($first: Int = 20, $after: String) {
  users(first: $first, after: $after) {
    totalCount
    pageInfo { hasNextPage endCursor }
    nodes {
      id
      username
      email
      displayName
      status
      createdAt
    }
  }
}
`;

const address = new URL(location.pathname, location.href);
const link = new URLSearchParams(location.search);
// A reload opens the operation of a link again, until it is edited. Then it keeps what was typed.
const forgetLink = () => history.replaceState(null, "", address);

function CopyLink() {
  const editors = useGraphiQL(({ queryEditor, variableEditor }) => [queryEditor, variableEditor]);
  const copy = () => {
    const [query, variables] = editors.map((editor) => editor?.getValue() ?? "");
    const shared = new URL(address);
    shared.search = new URLSearchParams(variables.trim() ? { query, variables } : { query });
    return navigator.clipboard.writeText(shared.href);
  };
  const path = createElement("path", {
    d: "M10 14a4 4 0 0 0 6 0l4-4a4 4 0 0 0-6-6l-2 2m2 4a4 4 0 0 0-6 0l-4 4a4 4 0 0 0 6 6l2-2",
    fill: "none",
    stroke: "currentColor",
    strokeWidth: 1.5,
  });
  const icon = createElement(
    "svg",
    { viewBox: "0 0 24 24", className: "graphiql-toolbar-icon", "aria-hidden": true },
    path,
  );
  return createElement(ToolbarButton, { label: "Copy a link to this operation", onClick: copy }, icon);
}

const page = createElement(
  GraphiQL,
  {
    fetcher: createFetcher(address),
    introspectionQueryName: INTROSPECTION_NAME,
    defaultQuery: EXAMPLE,
    initialQuery: link.get("query") ?? undefined,
    initialVariables: link.get("variables") ?? undefined,
    plugins: [HISTORY_PLUGIN, explorerPlugin()],
    onEditQuery: forgetLink,
    onEditVariables: forgetLink,
    defaultEditorToolsVisibility: true,
    inputValueDeprecation: true,
    shouldPersistHeaders: false, // they can have a token
  },
  createElement(GraphiQL.Toolbar, null, ({ prettify, merge, copy }) =>
    createElement(Fragment, null, prettify, merge, copy, createElement(CopyLink)),
  ),
);
createRoot(document.getElementById("graphiql")).render(page);
