// graphql-codegen's client preset as docs/clients.md configures it.
export default {
  schema: "schema.graphql",
  documents: ["codegen/users.ts"],
  importExtension: ".ts",
  generates: {
    "codegen/gql/": {
      preset: "client",
      presetConfig: { persistedDocuments: true, fragmentMasking: false },
      config: {
        enumsAsTypes: true,
        useTypeImports: true,
        strictScalars: true,
        scalars: { BigInt: "string", DateTime: "string", JSON: "unknown" },
      },
    },
  },
}
