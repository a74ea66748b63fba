import { defineConfig } from "vite";

export default defineConfig({
  base: "./", // files refer to each other, so that the server can be mounted anywhere
  build: {
    chunkSizeWarningLimit: 5000,
    emptyOutDir: true,
    license: { fileName: "LICENSES.md" }, // most of the packages require it
  },
  worker: { format: "es" },
});
